// What a page's script has: its element, the server's functions, and uploads.
const element = document.querySelector(".page"), page = element.dataset.page;
const server = new Proxy({}, {
  get: (_, name) => async (payload) => {
    const answer = await fetch(`/call/${page}/${name}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(payload || {}),
    });
    return answer.ok ? answer.json() : undefined;
  },
});
async function upload(file) {
  const form = new FormData();
  form.append("files", file);
  const answer = await fetch("/gradio_api/upload", { method: "POST", body: form });
  if (!answer.ok) throw new Error(await answer.text());
  return { path: (await answer.json())[0] };
}
// Nothing is drawn anew under somebody's hands. A button that is replaced between press and release gets no click,
// and one that is moved while the pointer comes to it gives its click to another.
const AIMING_MS = 400;
const hands = { pointer: false, key: false, aimed: -AIMING_MS };
const isInHand = () => hands.pointer || hands.key || performance.now() - hands.aimed < AIMING_MS;
async function handsOff() {
  while (isInHand()) await new Promise((done) => setTimeout(done, 50));
}
["pointerdown", "pointermove", "pointerup", "pointercancel"].forEach((kind) => {
  window.addEventListener(kind, (event) => {
    hands.pointer = kind !== "pointercancel" && (event.buttons & 1) === 1;
    const isAiming = kind === "pointermove" && event.pointerType === "mouse" && event.target.closest?.("button");
    hands.aimed = isAiming ? performance.now() : kind === "pointermove" ? hands.aimed : -AIMING_MS;
  }, true);
});
window.addEventListener("keydown", (event) => { hands.key = event.key === " " && event.target.matches?.("button, summary"); }, true);
["keyup", "blur"].forEach((kind) => window.addEventListener(kind, () => { hands.key = false; }, true));

// Times as a colleague would say them; the whole of each is its title.
function ago(time) {
  const minutes = (Date.now() - Date.parse(time)) / 60000;
  if (!(minutes > -2)) return "";
  if (minutes < 1) return "just now";
  if (minutes < 90) return `${Math.floor(minutes)} min ago`;
  if (minutes < 2160) return `${Math.round(minutes / 60)} h ago`;
  return minutes < 20160 ? `${Math.round(minutes / 1440)} days ago` : "";
}
function tellTimes() {
  document.querySelectorAll("time[datetime]").forEach((one) => {
    const told = ago(one.dateTime);
    if (told && told !== one.textContent) one.textContent = told;
  });
}
new MutationObserver(tellTimes).observe(document.body, { childList: true, subtree: true });
setInterval(tellTimes, 20000);

// What waits for the one who looks, told on every page.
setInterval(async () => {
  const told = document.hidden ? undefined : await server.waiting().catch(() => undefined);
  const bell = document.getElementById("bell");
  await handsOff();
  if (told && !told.fault && bell && bell.innerHTML.trim() !== told.bell.trim() && !bell.querySelector("[open]")) bell.innerHTML = told.bell;
}, 20000);
