// The page "Data". HTML comes from the server's templates, with every value escaped; text made here goes
// through textContent.
const $ = (selector) => element.querySelector(selector);
const list = $(".files"), found = $(".found"), fault = $(".fault"), busy = $(".busy"), trouble = $(".trouble");
const files = []; // { file, size, held_out }
let name = null, shown = "", number = 0, underway = 0;

const wrong = (text) => { fault.textContent = text || ""; };

// isStale: whether nobody waits for the answer any more; its fault would be that of something else.
async function ask(what, payload, doing, isStale = () => false) {
  wrong("");
  busy.textContent = doing;
  underway += 1;
  found.inert = true; // a correction made now would be gone with the answer
  element.classList.add("working");
  let answer = null;
  try {
    answer = await server[what](payload);
  } catch (error) {
    answer = null; // said below
  }
  underway -= 1;
  if (!underway) {
    busy.textContent = "";
    found.inert = false;
    element.classList.remove("working");
  }
  const isAnswer = answer !== null && typeof answer === "object";
  trouble.hidden = isAnswer;
  trouble.textContent = isAnswer ? "" : "The console does not answer. If you were logged out, reload the page.";
  if (isStale()) return null;
  if (isAnswer && answer.fault) wrong(answer.fault);
  return isAnswer && !answer.fault ? answer : null;
}

function showFiles() {
  list.replaceChildren();
  files.forEach((one, index) => {
    const row = document.createElement("li");
    const title = document.createElement("span");
    title.className = "mono";
    title.textContent = one.file;
    const size = document.createElement("span");
    size.className = "soft";
    size.textContent = one.size;
    const role = document.createElement("select");
    role.setAttribute("aria-label", `Use of ${one.file}`);
    role.dataset.role = index;
    [["learn from it", false], ["hold it out", true]].forEach(([text, value]) => {
      role.add(new Option(text, value ? "held" : "learn", false, value === one.held_out));
    });
    const gone = document.createElement("button");
    gone.type = "button";
    gone.className = "plain";
    gone.dataset.act = "remove";
    gone.dataset.index = index;
    gone.textContent = "Remove";
    row.append(title, size, role, gone);
    list.append(row);
  });
}

const chosen = () => [...element.querySelectorAll("select[data-column]")].map((one) => [JSON.parse(one.dataset.column), one.value]); // JSON: what shows nothing counts
const task = () => ($("select[data-task]") ? $("select[data-task]").value : null);
const isCorrected = () => JSON.stringify([task(), chosen()]) !== shown;

function wish(corrected) {
  return {
    train: files.filter((one) => !one.held_out).map((one) => one.file),
    held_out: files.filter((one) => one.held_out).map((one) => one.file),
    task: corrected ? task() : null,
    columns: corrected ? chosen() : null,
  };
}

let last = null; // the wish of the profile that is shown
async function look(corrected) {
  const mine = ++number, asked = wish(corrected);
  if (!files.length) { found.replaceChildren(); return; }
  const answer = await ask("look", asked, "Looking at every row…", () => mine !== number);
  if (!answer) return;
  last = asked;
  found.innerHTML = answer.html;
  shown = JSON.stringify([task(), chosen()]);
  const box = $("input[data-name]");
  if (box) box.value = name === null ? answer.name : name;
  mark();
}

function mark() {
  const corrected = isCorrected();
  element.querySelectorAll("[data-act=again]").forEach((one) => { one.disabled = !corrected; });
  element.querySelectorAll("[data-act=write]").forEach((one) => { one.disabled = corrected; });
}

async function take(given) {
  const kinds = $("input[type=file]").accept.split(",");
  for (const file of given) {
    if (!kinds.some((kind) => file.name.toLowerCase().endsWith(kind))) {
      return wrong(`'${file.name}' is not a kind of file that is taken (${kinds.join(", ")}).`);
    }
  }
  for (const file of given) {
    busy.textContent = `Uploading ${file.name}…`;
    let received = null;
    try {
      received = await upload(file);
    } catch (error) {
      busy.textContent = "";
      return wrong(`'${file.name}' was not taken: it is too large.`);
    }
    const kept = await ask("keep", { path: received.path, name: file.name }, `Keeping ${file.name}…`);
    if (!kept) { showFiles(); return; }
    if (!files.some((one) => one.file === kept.file)) files.push(kept);
  }
  if (files.every((one) => one.held_out)) files[0].held_out = false;
  showFiles();
  await look(false);
}

const acts = {
  choose: () => $("input[type=file]").click(),
  remove: (node) => { files.splice(Number(node.dataset.index), 1); showFiles(); look(false); },
  again: () => look(true),
  guess: () => look(false),
  write: async (node) => {
    node.disabled = true;
    const answer = await ask("write", { ...last, name: $("input[data-name]").value }, "Holding rows out, fitting baselines, writing…");
    node.disabled = false;
    if (answer) window.location.href = `/?c=${encodeURIComponent(answer.conversation)}`;
  },
};

element.addEventListener("click", (event) => {
  const node = event.target.closest("[data-act]");
  if (node && !element.classList.contains("working") && acts[node.dataset.act]) acts[node.dataset.act](node);
});
element.addEventListener("change", (event) => {
  const node = event.target;
  if (node.type === "file") {
    const given = [...node.files];
    node.value = "";
    take(given);
  } else if (node.dataset.role !== undefined) {
    files[Number(node.dataset.role)].held_out = node.value === "held";
    look(false);
  } else if (node.dataset.column !== undefined || node.dataset.task !== undefined) {
    mark();
  }
});
element.addEventListener("input", (event) => { if (event.target.dataset.name !== undefined) name = event.target.value; });
element.addEventListener("dragover", (event) => { event.preventDefault(); element.classList.add("over"); });
element.addEventListener("dragleave", () => element.classList.remove("over"));
element.addEventListener("drop", (event) => {
  event.preventDefault();
  element.classList.remove("over");
  if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
});
element.dataset.ready = "yes";
