// A page that shows what the server tells and keeps it up to date. HTML comes from templates that escape every
// value. A form or an unfolded part that somebody uses is not taken from under their hands.
const shown = element.querySelector(".shown"), fault = element.querySelector(".fault"), trouble = element.querySelector(".trouble");
const EVERY_MS = Number(element.querySelector("[data-every-ms]")?.dataset.everyMs || 2500);
let last = "", timer = null, asked = {}, number = 0;

async function ask(name, payload) {
  let answer;
  try { answer = await server[name](payload); } catch { answer = undefined; }
  trouble.hidden = answer !== undefined;
  trouble.textContent = answer === undefined ? "The console does not answer. If you were logged out, reload the page." : "";
  return answer;
}

const isInUse = () => shown.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");

async function refresh(now) {
  clearTimeout(timer);
  if (now || (!document.hidden && !isInUse())) {
    const mine = ++number, answer = await ask("show", asked);
    await handsOff();
    if (mine !== number) return;
    if (answer && answer.fault) fault.textContent = answer.fault;
    else if (answer && answer.html !== last && (now || !isInUse())) draw(answer.html);
  }
  timer = setTimeout(refresh, EVERY_MS);
}

function draw(html) {
  const open = [...shown.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key);
  const written = [...shown.querySelectorAll("input[data-focus]")].filter((one) => one.value).map((one) => [one.dataset.focus, one.value]);
  const at = document.activeElement, focus = shown.contains(at) ? at.dataset.focus : null;
  last = html;
  shown.innerHTML = html;
  shown.querySelectorAll("details[data-key]").forEach((one) => { if (open.includes(one.dataset.key)) one.open = true; });
  written.forEach(([key, text]) => { const one = shown.querySelector(`[data-focus="${CSS.escape(key)}"]`); if (one) one.value = text; });
  if (focus) shown.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
  if (!element.dataset.ready && location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  element.dataset.ready = "yes";
}

element.addEventListener("click", async (event) => {
  const node = event.target.closest("button[data-do]");
  if (!node) return;
  const fields = Object.fromEntries([...(node.closest("[data-fields]")?.querySelectorAll("[name]") || [])].map((one) => [one.name, one.value]));
  node.closest("[data-fields]")?.querySelectorAll("button").forEach((one) => { one.disabled = true; });
  const answer = await ask(node.dataset.do, { ...node.dataset, ...fields });
  fault.textContent = (answer && answer.fault) || "";
  last = "";
  node.blur();
  refresh(true);
});

element.addEventListener("change", (event) => {
  if (!event.target.matches("select[data-ask]")) return;
  asked = { ...asked, [event.target.dataset.ask]: event.target.value };
  event.target.blur();
  refresh(true);
});

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
refresh(true);
