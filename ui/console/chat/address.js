// The address names the open conversation: Back and Forward lead through those that were open. One that was not
// wished for by name, as after a deletion, takes the place of the last.
function remember(wished) {
  const url = new URL(window.location.href), named = url.searchParams.get("c");
  url.searchParams.set("c", state.conversation);
  url.searchParams.delete("say");
  const isAnother = wished && named && named !== state.conversation;
  window.history[isAnother ? "pushState" : "replaceState"](null, "", url);
}

window.addEventListener("popstate", () => {
  openConversation(new URLSearchParams(window.location.search).get("c"));
});
