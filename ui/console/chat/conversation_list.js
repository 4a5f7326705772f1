// The list of conversations: what others began, named or deleted comes into it; search, names, deletion.
const LISTED = 50; // so many the server tells at most
let listed = 0; // the newest list counts
async function refreshList() {
  const number = ++listed;
  const answer = await ask("list_conversations", { words: find.value });
  await handsOff();
  if (answer && !answer.fault && number === listed) showList(answer.conversations);
}

function showList(conversations) {
  const nav = $(".list"), at = nav.contains(document.activeElement) ? document.activeElement : null;
  if (at && at.matches("input, .sure *")) return; // in use
  const held = at && [at.closest(".one").dataset.conversation, at.dataset.act];
  nav.replaceChildren();
  for (const one of conversations) {
    const row = make("div", one.id === state.conversation ? "one current" : "one", "");
    row.dataset.conversation = one.id;
    const button = make("button", "name", "", "open"), title = make("span", "", one.title);
    [title.title, title.dir] = [one.title, "auto"]; // the list cuts long ones
    button.append(title, one.found ? make("small", "", one.found) : whose(one));
    row.append(button);
    if (one.id === state.conversation) {
      const change = make("div", "change", "");
      change.append(make("button", "small", "Rename", "rename"), make("button", "small", "Delete", "delete"));
      row.append(change);
    }
    nav.append(row);
  }
  if (conversations.length >= LISTED) nav.append(make("p", "soft small", `The newest ${LISTED}; search finds older ones.`));
  if (!conversations.length && find.value.trim()) nav.append(make("p", "soft", "Nothing was found."));
  if (held) nav.querySelector(`[data-conversation="${CSS.escape(held[0])}"] [data-act=${held[1]}]`)?.focus();
}

function whose(one) {
  const told = make("small", "", `${one.by}, `), time = make("time", "", one.at.slice(0, 16).replace("T", " "));
  [time.dateTime, time.title] = [one.at, `${one.at.slice(0, 19).replace("T", " ")} UTC`];
  told.append(time);
  return told;
}

let finding = null;
find.addEventListener("input", () => {
  listed++; // what was asked with other words is not shown any more
  clearTimeout(finding);
  finding = setTimeout(refreshList, 200);
});

function rename(node) {
  const row = node.closest(".one"), box = document.createElement("input"), name = row.querySelector(".name");
  box.value = name.querySelector("span").textContent;
  box.maxLength = 120;
  box.setAttribute("aria-label", "Name of the conversation");
  name.replaceWith(box);
  row.querySelector(".change").remove();
  box.focus();
  box.select();
  let over = false;
  const end = async (keep) => {
    if (over) return;
    over = true;
    const answer = keep ? await ask("rename", { conversation: row.dataset.conversation, title: box.value }) : {};
    wrong((answer && answer.fault) || "");
    box.remove();
    refreshList();
  };
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter") end(true);
    else if (event.key === "Escape") end(false);
  });
  box.addEventListener("blur", () => end(true));
}

function askToDelete(node) {
  const row = node.closest(".one"), sure = make("div", "sure", "");
  const yes = make("button", "small bad", "Delete", "delete-now"), no = make("button", "small", "Keep it", "keep-it");
  sure.append(make("p", "", "Delete this conversation for everybody? Its runs stay in the ledger."), yes, " ", no);
  row.querySelector(".change").replaceWith(sure);
  no.focus();
}

async function deleteNow(node) {
  const conversation = node.closest(".one").dataset.conversation, answer = await ask("delete", { conversation });
  if (!answer) return;
  wrong(answer.fault || "");
  node.blur();
  if (answer.fault) return refreshList();
  await openConversation(null);
}
