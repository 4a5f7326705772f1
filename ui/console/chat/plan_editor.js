// A plan as YAML below its card, compiled while it is written; what is wrong stands at its line.
async function edit(button) {
  const run = button.dataset.run, card = button.closest("[data-entry]");
  const there = log.querySelector(`.plan-editor[data-run="${run}"]`);
  if (there) return there.querySelector("textarea").focus();
  const answer = await ask("plan_text", { run });
  if (!answer || answer.fault) return wrong(answer ? answer.fault : "");
  if (!card.isConnected || log.querySelector(`.plan-editor[data-run="${run}"]`)) return; // left, or opened meanwhile
  const form = document.createElement("div");
  form.className = "plan-editor";
  form.dataset.run = run;
  form.innerHTML = `<div class="paper"><pre class="numbers" aria-hidden="true"></pre><textarea aria-label="The plan as YAML" spellcheck="false" wrap="off" rows="4"></textarea></div>
    <p class="said-of-it" role="status"></p>
    <footer><button type="button" class="approve" disabled>Propose the changed plan</button><button type="button" class="plain">Close</button></footer>`;
  const [text, numbers, told, [go, close]] = [form.querySelector("textarea"), form.querySelector(".numbers"), form.querySelector(".said-of-it"), form.querySelectorAll("button")];
  let asked = 0, waits = null;
  const draw = (line) => {
    const count = text.value.split("\n").length;
    numbers.replaceChildren(...Array.from({ length: count }, (_, index) => {
      const one = document.createElement("span");
      one.textContent = `${index + 1}\n`;
      one.className = index + 1 === line ? "bad" : "";
      return one;
    }));
    text.rows = Math.min(Math.max(count, 4), 28);
    numbers.style.height = `${text.offsetHeight}px`;
  };
  const check = async () => {
    const number = ++asked, found = await ask("check_plan", { run, text: text.value });
    if (number !== asked || !found) return;
    const line = /, line (\d+):/.exec(found.fault || "");
    draw(line ? Number(line[1]) : 0);
    told.textContent = found.fault || `This is plan ${found.plan.slice(0, 12)}, a new one: consent given to the old one does not count for it.`;
    told.className = `said-of-it ${found.fault ? (text.value === answer.text ? "soft" : "bad") : "soft"}`;
    go.disabled = Boolean(found.fault);
  };
  text.value = answer.text;
  text.addEventListener("scroll", () => { numbers.scrollTop = text.scrollTop; });
  text.addEventListener("input", () => { go.disabled = true; draw(0); clearTimeout(waits); waits = setTimeout(check, 250); });
  close.addEventListener("click", () => form.remove());
  go.addEventListener("click", async () => {
    go.disabled = true;
    const done = await ask("change_plan", { conversation: state.conversation, run, text: text.value });
    if (done && !done.fault) { form.remove(); return look(); }
    if (done) { told.textContent = done.fault; told.className = "said-of-it bad"; }
    go.disabled = false;
  });
  card.after(form);
  draw(0);
  check();
  text.focus();
  form.scrollIntoView({ block: "nearest" });
}
