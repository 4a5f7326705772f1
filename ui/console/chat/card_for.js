// A card is the same for everybody; what only some may press is fitted to the one who looks. The server asks the
// policy again whatever is pressed.
function fit(node) {
  const me = $(".chat").dataset;
  node.querySelectorAll("[data-mine]").forEach((one) => { one.hidden = one.dataset.mine !== me.name; });
  node.querySelectorAll("[data-roles]").forEach((one) => {
    const roles = one.dataset.roles.split(" ").filter(Boolean);
    if (one.disabled || roles.includes(me.role)) return;
    one.disabled = true;
    one.title = roles.length ? `your role, ${me.role}, may not approve it: ${roles.join(" or ")} may` : "no role may approve it";
  });
}
