// Tables of class "sortable" below `root` are ordered by a click on a column's head; empty cells stay last.
// The order is kept when the rows are replaced: `again()` puts it on the new ones.
function makeSortable(root) {
  let chosen = null;
  function order(table) {
    const heads = [...table.tHead.rows[0].cells];
    const column = heads.findIndex((head) => head.textContent === chosen.name);
    if (column < 0) return;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", chosen.rising ? "ascending" : "descending");
    const isNumber = heads[column].dataset.sort === "number";
    const keyOf = (row) => {
      const cell = row.cells[column];
      const text = (cell.dataset.value ?? cell.textContent).trim();
      return text === "" ? null : isNumber ? Number(text) : text.toLowerCase();
    };
    const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return (a < b ? -1 : a > b ? 1 : 0) * (chosen.rising ? 1 : -1);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }
  root.addEventListener("click", (event) => {
    const head = event.target.closest("table.sortable th[data-sort]");
    if (!head) return;
    const now = head.getAttribute("aria-sort");
    chosen = { name: head.textContent, rising: now ? now === "descending" : head.dataset.sort === "text" };
    order(head.closest("table"));
  });
  return { again: () => chosen && root.querySelectorAll("table.sortable").forEach(order) };
}
