// The page: twenty calls at once, over and over, and what happens underneath.
// About tokens there is nothing here to do but one thing: where the backend says
// that the session has ended, go to the sign-in page.
import { Line } from "./line.js";

const VOLLEY = 20;
const PAUSE = 150; // ms between two volleys

const $ = (id) => document.getElementById(id);
const line = new Line($("line"));
const counts = { answered: 0, failed: 0, refreshed: 0, adopted: 0, replayed: 0 };
let generation = 0; // the number of the newest token that has been seen
let leaving = false;

/* Calls */

class Left extends Error {} // the page is on its way out: nothing is a failure any more

async function call(path, options) {
	let response;
	try {
		response = await fetch("/api" + path, { cache: "no-store", ...options });
	} catch (error) {
		throw leaving ? new Left() : error;
	}
	if (response.status === 401 && (await code(response.clone())) === "sign_in_required") {
		leave();
		throw new Left();
	}
	return response;
}

async function code(response) {
	try {
		return (await response.json()).error;
	} catch {
		return ""; // not one of the backend's own answers
	}
}

function leave() {
	if (!leaving) {
		leaving = true;
		location.replace("/sign-in?why=ended");
	}
}

function count(name) {
	counts[name]++;
	$(name).textContent = counts[name].toLocaleString("en");
}

function fail(why) {
	count("failed");
	line.add("failed");
	$("failed").parentElement.classList.add("some");
	say(`${counts.failed === 1 ? "A call has" : "Calls have"} failed, the last one with: ${why}.`, true);
}

// say says something to everybody, screen readers included.
function say(text, bad = false) {
	if ($("status").textContent !== text) $("status").textContent = text;
	$("status").classList.toggle("bad", bad);
}

/* Volleys */

const cells = Array.from({ length: VOLLEY }, () => {
	const cell = document.createElement("li");
	cell.dataset.state = "none";
	return $("calls").appendChild(cell);
});

let volley = Promise.resolve(); // the one under way
let paused = false;
let quiet = 0; // how many want no volley to start
let wake = () => {};

async function one(i) {
	const cell = cells[i];
	cell.dataset.state = "sent";
	try {
		const response = await call(`/orders/${i + 1}`);
		if (!response.ok) {
			const after = Number(response.headers.get("Retry-After"));
			throw Object.assign(new Error(`status ${response.status}`), { after });
		}
		const { user, token } = await response.json();
		$("user").textContent = user;
		generation = Math.max(generation, token);
		$("generation").textContent = generation;
		cell.textContent = token;
		cell.dataset.parity = token % 2;
		cell.dataset.state = "answered";
		count("answered");
		line.add("answered");
		return 0;
	} catch (error) {
		if (error instanceof Left) return 0;
		cell.textContent = "×";
		cell.dataset.state = "failed";
		fail(error.message);
		return error.after ?? 1;
	}
}

async function forever() {
	while (!leaving) {
		if (paused || quiet > 0) {
			await new Promise((resolve) => (wake = resolve));
			continue;
		}
		const failed = counts.failed;
		volley = Promise.all(cells.map((_, i) => one(i)));
		const wait = Math.max(...(await volley)); // seconds, if the backend asked for some
		if (counts.failed === failed && !paused && quiet === 0) {
			say(failed === 0 ? "Running. No call has failed." : `Running again. ${failed.toLocaleString("en")} in all have failed.`);
		}
		await new Promise((resolve) => setTimeout(resolve, wait * 1000 || PAUSE));
	}
}

// alone does something while no volley is under way.
async function alone(something) {
	quiet++;
	try {
		await volley;
		return await something();
	} finally {
		quiet--;
		wake();
	}
}

$("pause").addEventListener("click", () => {
	paused = !paused;
	$("pause").textContent = paused ? "Go on" : "Pause";
	if (paused) say("Paused.");
	wake();
});

$("sign-out").addEventListener("submit", () => (leaving = true));

/* Events of the session */

const words = {
	"refreshed": (n, took) => `Refreshed, in ${Math.round(took)} ms`,
	"refresh_failed": () => "A refresh failed",
	"adopted": () => "Adopted a token that another replica stored",
	"replayed": (n) => (n === 1 ? "1 call refused, and sent again" : `${n} calls refused, and sent again`),
	"save_failed": () => "The store has not accepted the new token yet",
	"saved_late": () => "The store has accepted the new token",
	"signed_in": () => "Signed in",
};

const log = []; // the newest first

function note(kind, took) {
	const now = Date.now();
	const last = log.find((entry) => entry.kind === kind);
	if (kind === "replayed" && last && now - last.at < 1000) {
		last.n++;
	} else {
		log.unshift({ kind, took, at: now, n: 1 });
		log.length = Math.min(log.length, 5);
	}
	$("log").replaceChildren(...log.map(({ kind, took, at, n }) => {
		const item = document.createElement("li");
		const time = item.appendChild(document.createElement("time"));
		time.textContent = new Date(at).toLocaleTimeString("en-GB") + "." + String(Math.floor((at % 1000) / 100));
		item.appendChild(document.createElement("span")).textContent = words[kind](n, took);
		return item;
	}));
}

function listen() {
	const source = new EventSource("/events");
	source.onmessage = ({ data }) => {
		const { kind, took } = JSON.parse(data);
		line.add(kind, took);
		if (kind in words) note(kind, took);
		if (kind in counts) count(kind);
		if (kind === "sign_in_required" || kind === "signed_out") leave();
	};
	source.onerror = () => { // the browser itself goes on trying, unless it was turned away
		if (source.readyState === EventSource.CLOSED && !leaving) setTimeout(listen, 2000);
	};
}

/* The upload */

function randomBytes(length) {
	const bytes = new Uint8Array(length);
	for (let i = 0; i < length; i += 65536) { // which is as much as the browser gives at once
		crypto.getRandomValues(bytes.subarray(i, Math.min(i + 65536, length)));
	}
	return bytes;
}

async function sha256(bytes) {
	if (!crypto.subtle) return "unknown: by plain http this browser computes none";
	const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
	return Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

$("upload").addEventListener("submit", async (event) => {
	event.preventDefault();
	const button = event.submitter;
	const result = $("upload-result");
	button.disabled = true;
	result.textContent = "Uploading.";
	try {
		const bytes = randomBytes(Number($("size").value) << 20);
		const sent = await sha256(bytes);
		const response = await alone(async () => {
			if ($("spoil").checked) await call("/demo/expire", { method: "POST" });
			return call("/uploads", { method: "POST", body: new Blob([bytes]) });
		});
		if (!response.ok) throw new Error(`status ${response.status}`);
		const got = response.headers.get("X-Body-SHA256");
		const length = Number(response.headers.get("X-Body-Length"));
		const whole = sent === got && length === bytes.length;
		result.replaceChildren(
			text("p", whole ? "It arrived whole." : "It did not arrive as it was sent.", whole ? "good" : "wrong"),
			list({ "Bytes": length.toLocaleString("en"), "SHA-256 as sent": sent, "as the API got it": got }),
		);
	} catch (error) {
		if (!(error instanceof Left)) result.replaceChildren(text("p", `The upload failed: ${error.message}.`, "wrong"));
	} finally {
		button.disabled = false;
	}
});

function text(tag, content, kind = "") {
	const element = document.createElement(tag);
	element.textContent = content;
	element.className = kind;
	return element;
}

function list(entries) {
	const element = document.createElement("dl");
	for (const [name, value] of Object.entries(entries)) element.append(text("dt", name), text("dd", value));
	return element;
}

/* The faults of the demo */

async function demo(what) {
	try {
		const response = await call(`/demo/${what}`, { method: "POST" });
		if (!response.ok) throw new Error(`status ${response.status}`);
		return true;
	} catch (error) {
		if (!(error instanceof Left)) say(`The server was not told: ${error.message}.`, true);
		return false;
	}
}

$("expire").addEventListener("click", async () => {
	if (await alone(() => demo("expire"))) say("The API has been told to refuse the access token.");
});

$("revoke").addEventListener("click", async () => {
	if (await demo("revoke")) say("The server has ended the session.");
});

listen();
forever();
