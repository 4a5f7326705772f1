// The chat page. All text from the server arrives as HTML that templates made with every value escaped; all
// text made here goes through textContent.
const $ = (selector) => element.querySelector(selector);
const log = $(".log"), box = $("textarea"), list = $(".options"), fault = $(".fault"), trouble = $(".trouble"), find = $(".find");
const state = { conversation: null, cursor: 0, live: {}, pending: new Set(), settled: new Set(), options: [], offeredFor: "", chosen: -1, running: false };
const query = new URLSearchParams(window.location.search);

const say = (node, text) => { node.textContent = text || ""; node.hidden = !text; };

async function ask(name, payload) {
  let answer = null;
  try {
    answer = await server[name](payload || {});
  } catch (error) {
    answer = null; // said below
  }
  const isAnswer = answer !== null && typeof answer === "object"; // a server that is gone gives undefined
  say(trouble, isAnswer ? "" : "The console does not answer. Trying again; nothing is lost. If you were logged out, reload the page.");
  return isAnswer ? answer : null;
}

const where = () => ({ conversation: state.conversation, cursor: state.cursor, live: state.live });

function put(entries) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  state.running = false;
  for (const entry of entries) {
    if (entry.running) state.running = true;
    if (entry.to) settle(entry.to);
    if (entry.html === undefined) continue;
    let node = log.querySelector(`[data-entry="${entry.id}"]`);
    const open = {};
    if (node) {
      node.querySelectorAll("details[data-key]").forEach((one) => { open[one.dataset.key] = one.open; });
    } else {
      node = document.createElement("div");
      node.dataset.entry = entry.id;
      log.append(node);
    }
    node.innerHTML = entry.html;
    fit(node);
    node.querySelectorAll("details[data-key]").forEach((one) => {
      if (one.dataset.key in open && !one.dataset.key.endsWith("-curve")) one.open = open[one.dataset.key];
    });
    if (entry.live) state.live[entry.id] = { run: entry.run, digest: entry.digest };
    else delete state.live[entry.id];
  }
  if (atEnd) log.scrollTop = log.scrollHeight;
  tick();
  tellUntil();
}

function settle(id) {
  state.pending.delete(id);
  state.settled.add(id);
  log.querySelectorAll(`[data-waits="${id}"], [data-entry="${id}-planning"]`).forEach((node) => node.remove());
}

function waitFor(id) {
  if (state.settled.has(id)) return; // its answer came before that to what was sent
  state.pending.add(id);
  const node = document.createElement("div");
  node.dataset.waits = id;
  node.className = "working soft";
  node.textContent = "working";
  log.append(node);
  log.scrollTop = log.scrollHeight;
}

let opened = 0; // the newest wish counts, in whatever order the answers come
async function openConversation(conversation) {
  const number = ++opened;
  const answer = await ask("open_conversation", { conversation });
  await handsOff();
  if (number !== opened) return;
  if (!answer) { setTimeout(() => { if (number === opened) openConversation(conversation); }, 1500); return; }
  if (answer.fault && conversation) {
    await openConversation(null);
    return wrong(`${answer.fault} This is a new one.`);
  }
  if (answer.fault) return say(trouble, answer.fault);
  Object.assign(state, { conversation: answer.conversation, cursor: answer.cursor, live: {}, pending: new Set(), settled: new Set() });
  Object.assign($(".chat").dataset, { role: answer.role, name: answer.person });
  log.replaceChildren();
  if (answer.left_out) {
    const note = document.createElement("p");
    note.className = "soft";
    note.textContent = `${answer.left_out} earlier entries are kept in the workspace and not shown.`;
    log.append(note);
  }
  if (!answer.entries.length) welcome(answer.overview);
  put(answer.entries);
  log.scrollTop = answer.entries.length ? log.scrollHeight : 0;
  if (find.value.trim()) {
    refreshList(); // the list stays what was searched for
  } else {
    listed++;
    showList(answer.conversations);
  }
  remember(conversation);
  element.dataset.ready = "yes";
}

function welcome(overview) {
  const node = document.createElement("div");
  node.className = "welcome";
  const shown = document.createElement("div");
  shown.innerHTML = overview || "";
  const text = document.createElement("p");
  text.className = "soft";
  text.textContent = "Say what you want in plain words, or type / for a command; Tab completes. What changes nothing answers at once. Anything else is shown as a plan and waits for an approval.";
  node.append(shown, text);
  log.append(node);
  soonStanding();
}

// The first screen is kept up to date while it is there and looked at.
let standing = null;
function soonStanding() {
  clearTimeout(standing);
  standing = setTimeout(async () => {
    const shown = log.querySelector(".welcome > div");
    if (!shown || !element.isConnected) return;
    if (!document.hidden) {
      const answer = await ask("overview");
      await handsOff();
      if (answer && answer.overview && answer.overview !== shown.dataset.last) {
        shown.innerHTML = answer.overview;
        shown.dataset.last = answer.overview;
      }
    }
    soonStanding();
  }, 3000);
}

function make(kind, className, text, act) {
  const node = document.createElement(kind);
  node.className = className;
  node.textContent = text;
  if (act) { node.type = "button"; node.dataset.act = act; }
  return node;
}

let beginning = Promise.resolve(); // of a new conversation: what is said after the click is said there
let sending = "", sent = 0; // sent: the fault of an earlier line says nothing of the last one
async function send(text) {
  const line = (text === undefined ? box.value : text).trim();
  if (!line || !state.conversation || line === sending) return; // a second Enter says nothing new
  const number = ++sent;
  sending = line;
  stopAssisting(); // before any wait: what is typed from here on gets its help
  await beginning;
  const first = !log.querySelector(".said"), of = state.conversation;
  const answer = await ask("send", { ...where(), text: line });
  await handsOff();
  if (number === sent) sending = "";
  if (!answer) return;
  if (answer.fault) {
    if (number === sent) wrong(answer.fault);
    return;
  }
  if (text !== undefined || box.value.trim() === line) { // what was typed since stays
    if (text === undefined) box.value = "";
    wrong("");
    hideOptions();
    grow();
  }
  if (of !== state.conversation) return;
  const hello = log.querySelector(".welcome");
  if (hello) hello.remove();
  state.cursor = answer.cursor;
  put(answer.entries);
  log.scrollTop = log.scrollHeight;
  if (answer.pending) waitFor(answer.pending);
  if (first) refreshList();
  if (answer.pending) soon(60);
}

function wrong(text) {
  fault.textContent = text;
  fault.classList.toggle("shown", Boolean(text));
  fault.classList.remove("mild");
}

// What changed: often while something goes on, seldom while nothing does, never while nobody looks.
let timer = null;
function soon(ms) {
  clearTimeout(timer);
  timer = setTimeout(look, ms);
}
let looks = 0, looking = false;
async function look() {
  if (!element.isConnected) return;
  if (isInHand() || sending) return soon(100); // the reply to what is sent shows it, and empties the box
  if (looking || !state.conversation || document.hidden) return soon(1000);
  looking = true;
  const of = state.conversation;
  const answer = await ask("look", where());
  looking = false;
  if (isInHand() || sending) return soon(100);
  if (answer && !answer.fault && of === state.conversation) {
    state.cursor = answer.cursor;
    put(answer.entries);
    if (answer.entries.some((entry) => entry.html !== undefined)) $(".welcome")?.remove(); // somebody else began it
  } else if (answer && answer.fault && of === state.conversation) {
    say(trouble, answer.fault);
  }
  if (++looks % 6 === 0) refreshList(); // what others began, named or deleted
  soon(!answer ? 2000 : state.pending.size ? 120 : state.running ? 500 : 1500);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(0); });

function tick() {
  element.querySelectorAll(".clock[data-since]").forEach((node) => {
    const seconds = Math.max(0, Date.now() / 1000 - Number(node.dataset.since));
    node.textContent = seconds < 90 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(1)} min`;
  });
}
function tellUntil() {
  element.querySelectorAll(".until[data-until]").forEach((node) => {
    const minutes = (Number(node.dataset.until) - Date.now() / 1000) / 60;
    const left = minutes < 90 ? `${Math.ceil(minutes)} min` : minutes < 2880 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} days`;
    node.textContent = minutes <= 0 ? "has lapsed: it does not count any more" : `counts for ${left} more`;
  });
}
setInterval(() => { tick(); tellUntil(); }, 1000);

// Completion.
let asked = 0, typed = null;
function stopAssisting() {
  asked++;
  clearTimeout(typed);
}

async function assist() {
  const text = box.value, number = ++asked;
  if (!text.startsWith("/")) { hideOptions(); wrong(""); return; }
  const answer = await ask("assist", { text });
  if (!answer || answer.fault === undefined || number !== asked || box.value !== text) return;
  state.options = answer.options;
  state.offeredFor = text;
  state.chosen = -1;
  drawOptions();
  wrong(answer.fault);
  if (answer.fault) fault.classList.add("mild");
}

function drawOptions() {
  list.replaceChildren();
  list.hidden = !state.options.length;
  state.options.forEach((option, index) => {
    const row = document.createElement("div");
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(index === state.chosen));
    row.className = "option";
    row.dataset.act = "complete";
    row.dataset.index = index;
    const label = document.createElement("span");
    label.className = "mono";
    label.textContent = option.label;
    const message = document.createElement("span");
    message.className = "soft";
    message.textContent = option.message;
    row.append(label, message);
    list.append(row);
    if (index === state.chosen) row.scrollIntoView({ block: "nearest" });
  });
}

function hideOptions() {
  stopAssisting();
  state.options = [];
  state.chosen = -1;
  drawOptions();
}

// wanted: the option that was pointed at, or undefined for the first. What was typed since they were offered counts.
async function complete(wanted) {
  if (state.offeredFor !== box.value) {
    stopAssisting(); // what typing would ask in a moment would overtake this
    await assist();
  }
  const option = wanted ? state.options.find((one) => one.label === wanted.label) : state.options[0];
  if (!option || state.offeredFor !== box.value) return;
  box.value = /[ =/]$/.test(option.line) ? option.line : `${option.line} `;
  box.focus();
  grow();
  assist();
}

function grow() {
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 160)}px`;
  box.style.overflowY = box.scrollHeight > 160 ? "auto" : "hidden";
}

box.addEventListener("input", () => { grow(); clearTimeout(typed); typed = setTimeout(assist, 60); });
box.addEventListener("keydown", (event) => {
  const open = !list.hidden;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    if (open && state.chosen >= 0) complete(state.options[state.chosen]);
    else send();
  } else if (event.key === "Tab" && open) {
    event.preventDefault();
    complete(state.options[state.chosen]);
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && open) {
    event.preventDefault();
    const step = event.key === "ArrowDown" ? 1 : -1;
    state.chosen = (state.chosen + step + state.options.length + (state.chosen < 0 && step < 0 ? 1 : 0)) % state.options.length;
    drawOptions();
  } else if (event.key === "Escape") {
    hideOptions();
  }
});

async function begin() {
  const answer = await ask("new_conversation");
  if (!answer || answer.fault) return;
  await openConversation(answer.conversation);
  box.focus();
}

const acts = {
  send: () => send(),
  take: (node) => { box.value = node.dataset.text; box.focus(); grow(); assist(); },
  say: (node) => send(node.dataset.text),
  complete: (node) => complete(state.options[Number(node.dataset.index)]),
  attach: () => $("input[type=file]").click(),
  open: (node) => openConversation(node.closest("[data-conversation]").dataset.conversation),
  rename: (node) => rename(node),
  delete: (node) => askToDelete(node),
  "delete-now": (node) => deleteNow(node),
  "keep-it": (node) => { node.blur(); refreshList(); },
  new: () => {
    beginning = begin();
  },
  approve: (node) => act(node, "decide", { run: node.dataset.run, plan: node.dataset.plan, approved: true }),
  reject: (node) => act(node, "decide", { run: node.dataset.run, plan: node.dataset.plan, approved: false }),
  edit: (node) => edit(node),
  stop: (node) => act(node, "stop_run", { run: node.dataset.run }),
  resume: (node) => act(node, "resume_run", { run: node.dataset.run }),
  stopPlanning: (node) => act(node, "stop_planning", { conversation: state.conversation, message: node.dataset.message }),
  withdraw: (node) => act(node, "withdraw", { run: node.dataset.run }),
};

async function act(node, name, payload) {
  const of = state.conversation;
  node.closest("footer").querySelectorAll("button").forEach((one) => { one.disabled = true; });
  const answer = await ask(name, payload);
  if (of !== state.conversation) return; // another one was opened: its box says nothing of this
  wrong(answer && answer.fault ? answer.fault : "");
  fault.classList.add("mild"); // the card says how it stands
  state.running = true;
  while (looking) await new Promise((done) => setTimeout(done, 30)); // one that began before the click
  await look();
  if (!node.isConnected) return;
  node.closest("footer").querySelectorAll("button").forEach((one) => { one.disabled = false; });
  fit(node.closest("footer"));
}

element.addEventListener("click", (event) => {
  const node = event.target.closest("[data-act]");
  if (node && acts[node.dataset.act]) acts[node.dataset.act](node);
});

$("input[type=file]").addEventListener("change", async (event) => {
  const file = event.target.files[0], of = state.conversation;
  event.target.value = "";
  if (!file) return;
  const kinds = event.target.accept.split(",");
  if (!kinds.some((kind) => file.name.toLowerCase().endsWith(kind))) {
    return wrong(`'${file.name}' is not a kind of file that is taken (${kinds.join(", ")}).`);
  }
  try {
    const received = await upload(file);
    const answer = await ask("keep", { conversation: of, path: received.path, name: file.name });
    if (answer && answer.fault) wrong(answer.fault);
  } catch (error) {
    wrong(`'${file.name}' was not taken: it is too large.`);
  }
  refreshList();
  if (of !== state.conversation) return;
  log.querySelector(".welcome")?.remove();
  await look();
});

openConversation(query.get("c")).then(() => {
  const wish = query.get("say");
  if (wish) { box.value = wish; grow(); assist(); }
  box.focus();
  soon(500);
});
