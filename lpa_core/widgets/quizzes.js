(() => {
  for (const form of document.querySelectorAll("form.lpa-quiz:not([data-ready])")) {
    form.dataset.ready = "";
    form.querySelector("details").hidden = true;
    form.querySelectorAll(":disabled").forEach(element => { element.disabled = false; });
    const status = form.querySelector("[role=status]");
    form.addEventListener("change", () => { status.textContent = ""; });
    form.addEventListener("submit", event => {
      event.preventDefault();
      const chosen = form.querySelector(":checked");
      if (chosen) status.innerHTML = form.querySelectorAll("li > span")[chosen.value].innerHTML;
      else status.textContent = "Choose an answer first.";
    });
  }
})();
