// Start: every table of data gets its arms, curves and images.

const choices = DATA.tables.map((table) => new Arms(table.arms));
for (const place of document.querySelectorAll("div.arms[data-table]")) choices[place.dataset.table].fill(place);
document.querySelectorAll("table:has(> thead)").forEach(sortable);
choices.forEach((arms, index) => hideRows(index, arms));
explainLines();
for (const [name, Kind] of [["curves", Curves], ["images", Images]]) {
  for (const place of document.querySelectorAll(`div.${name}[data-table]`)) {
    const content = DATA.tables[place.dataset.table][name];
    if (content) new Kind(place, content, choices[place.dataset.table]);
  }
}
document.body.dataset.ready = "";
