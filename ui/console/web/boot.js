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
// What waits for the one who looks, told on every page.
setInterval(async () => {
  const told = document.hidden ? undefined : await server.waiting().catch(() => undefined);
  const bell = document.getElementById("bell");
  if (told && !told.fault && bell && bell.innerHTML.trim() !== told.bell.trim() && !bell.querySelector("[open]")) bell.innerHTML = told.bell;
}, 20000);
