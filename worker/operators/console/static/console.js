// Refreshes the parts of a page that are marked `data-live`, by asking for the same page again. Everything else, and
// the whole page where this does not run, works without it.
"use strict";

(() => {
  const TIMEOUT_MS = 20000; // a snapshot takes about six seconds where Spanner is silent
  const freshness = document.getElementById("freshness");
  const contact = document.getElementById("contact"); // read aloud, so it speaks only of what is wrong
  const pause = document.getElementById("pause");
  const seconds = () => Number(document.body.dataset.refresh);
  const now = () => new Date().toISOString().slice(11, 19) + "Z";
  let isPaused = false;
  let timer = 0;

  // What the reader has opened, scrolled or focused within a part stays so.
  function replace(part, next) {
    const selection = document.getSelection();
    if (!selection.isCollapsed && part.contains(selection.anchorNode)) return;
    const opened = [...part.querySelectorAll("details")].map((each) => each.open);
    const scrolled = [...part.querySelectorAll(".scroll, pre")].map((each) => [each.scrollLeft, each.scrollTop]);
    const places = [...part.querySelectorAll("a, button, summary, input, [tabindex]")];
    const focused = places.indexOf(document.activeElement);
    const href = focused >= 0 ? places[focused].getAttribute("href") : null;
    part.replaceChildren(...next.childNodes);
    part.className = next.className;
    part.querySelectorAll("details").forEach((each, n) => { if (opened[n] !== undefined) each.open = opened[n]; });
    part.querySelectorAll(".scroll, pre").forEach((each, n) => { if (scrolled[n]) each.scrollTo(...scrolled[n]); });
    if (focused >= 0) {
      const found = [...part.querySelectorAll("a, button, summary, input, [tabindex]")];
      const same = href === null ? found[focused] : found.find((each) => each.getAttribute("href") === href);
      if (same) same.focus({ preventScroll: true });
    }
  }

  async function refresh() {
    try {
      const answer = await fetch(location.href, { redirect: "error", signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const next = page.getElementById(part.id);
        if (next && next.outerHTML !== part.dataset.seen) {
          part.dataset.seen = next.outerHTML;
          replace(part, next);
        }
      }
      document.title = page.title;
      document.body.dataset.refresh = page.body.dataset.refresh;
      document.body.classList.remove("stale");
      contact.textContent = "";
      freshness.textContent = seconds() ? `Refreshed at ${now()}.` : "";
      document.body.dataset.refreshed = String(Number(document.body.dataset.refreshed || 0) + 1);
    } catch {
      if (!document.body.classList.contains("stale")) {
        document.body.classList.add("stale");
        freshness.textContent = "";
        contact.textContent = `No answer since ${now()}: does nest-events console still run?`;
      }
    }
    plan();
  }

  function plan() {
    clearTimeout(timer);
    if (seconds() && !isPaused && !document.hidden) timer = setTimeout(refresh, seconds() * 1000);
  }

  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    freshness.textContent = isPaused ? `Paused at ${now()}.` : "";
    plan();
  });
  document.addEventListener("visibilitychange", plan);
  // Not scrollIntoView: since Chromium 150 the keyboard would go on from there, past the link that skips the navigation.
  const current = document.querySelector("nav [aria-current]");
  if (current) {
    const bar = current.closest("nav");
    const ahead = current.getBoundingClientRect().left - bar.getBoundingClientRect().left;
    bar.scrollLeft += ahead - (bar.clientWidth - current.clientWidth) / 2;
  }
  if (seconds()) {
    pause.parentElement.hidden = false;
    plan();
  }
})();
