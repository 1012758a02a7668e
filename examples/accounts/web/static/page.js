// Keeps the table up to date. Without this script the page works, and is as new as its
// last load.
const table = () => document.getElementById("accounts");

async function update() {
	// A button that has the focus must not be replaced, nor a form be interrupted that is sent.
	const busy = () => document.hidden || document.activeElement instanceof HTMLButtonElement;
	if (busy()) {
		return;
	}
	const answer = await fetch("/", { headers: { Accept: "text/html" } });
	if (!answer.ok) {
		return;
	}
	const page = new DOMParser().parseFromString(await answer.text(), "text/html");
	const now = page.getElementById("accounts");
	const empty = (section) => section.querySelector("table") === null;
	if (busy() || now === null || now.innerHTML === table().innerHTML) {
		return;
	}
	if (empty(now) !== empty(table())) {
		location.reload(); // the button above the table comes and goes with it
	} else {
		table().replaceWith(now);
	}
}

// The address says what came of the last click, which is no news when the page is loaded
// again, or it has the parameters of the callback.
history.replaceState(null, "", "/");
setInterval(() => update().catch(() => {}), 2000); // the server may be away for a while
