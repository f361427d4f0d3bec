// The main slider of an explorer: shows the figure that was drawn for its position.
addEventListener("input", (event) => {
  const explorer = event.target.closest(".dl-explorer");
  if (!explorer || event.target.type !== "range") return;
  explorer.querySelectorAll("figure").forEach((figure, k) => {
    figure.hidden = k !== Number(event.target.value);
    if (!figure.hidden) explorer.querySelector("output").textContent = figure.dataset.place;
  });
});
