// Tables: a click on a heading sorts the rows, and rows of hidden arms are hidden.

/** The number or text by which a cell is sorted; null if it is empty. */
function cellValue(row, place) {
  const cell = row.children[place];
  if (cell.dataset.value === undefined) return cell.textContent;
  const values = JSON.parse(cell.dataset.value);
  return values.find((value) => value !== null && value !== "") ?? null;
}

/** Numbers before texts, empty cells last in either direction. */
function inOrder(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
}

function sortable(table) {
  const body = table.tBodies[0];
  const before = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const sort = (place, direction) => {
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    if (direction) heads[place].setAttribute("aria-sort", direction);
    const sign = direction === "descending" ? -1 : 1;
    const keyed = before.map((row) => [cellValue(row, place), row]);
    if (direction) keyed.sort((a, b) => inOrder(a[0], b[0], sign));
    body.append(...keyed.map(([, row]) => row));
  };
  heads.forEach((head, place) => {
    if (head.classList.contains("fixed")) return;
    const text = place === 0 || head.classList.contains("text");
    const turns = text ? ["ascending", "descending", null] : ["descending", "ascending", null];
    const button = element("button", { type: "button", title: t("sort") }, ...head.childNodes);
    button.addEventListener("click", () => {
      sort(place, turns[(turns.indexOf(head.getAttribute("aria-sort")) + 1) % 3]);
    });
    head.append(button);
  });
}

function hideRows(index, arms) {
  const rows = [
    ...document.querySelectorAll(`table[data-table="${index}"] tr[data-row]`),
    ...document.querySelectorAll(`table.runs tr[data-of="${index}"]`),
  ];
  arms.watch(() => rows.forEach((row) => (row.hidden = arms.hidden.has(row.dataset.row))));
}

/** The words of a drawn line, which its label holds for those who cannot see it, beside the pointer. */
function explainLines() {
  for (const line of document.querySelectorAll("svg.line[aria-label]")) {
    const label = line.getAttribute("aria-label");
    hint.over(line, () => (line.childElementCount && label !== "reference" ? [label] : null));
  }
}
