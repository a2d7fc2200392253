const dialog = document.querySelector("dialog");
let large;  // the card that is shown large

const cards = () => [...document.querySelectorAll(".card")].filter(card => card.offsetParent);

function show(card) {
  if (!card) return;
  large = card;
  dialog.replaceChildren(...[...card.children].map(child => child.cloneNode(true)));
  if (!dialog.open) dialog.showModal();
}

document.querySelector(".gallery").addEventListener("click", event => {
  const link = event.target.closest(".stack");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  show(link.closest(".card"));
});

dialog.addEventListener("click", event => {
  if (event.target.closest("figcaption a")) return;
  event.preventDefault();
  dialog.close();
});

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "v") {
    const views = [...document.querySelectorAll('input[name="view"]')];
    views[(views.findIndex(view => view.checked) + 1) % views.length].checked = true;
  }
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (step && dialog.open) show(cards()[cards().indexOf(large) + step]);
});
