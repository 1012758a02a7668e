// A Line draws what happened over the last 20 seconds, newest on the right.

const SPAN = 20_000; // ms
const BIN = 200; // ms: calls are drawn by how many there were in each
const LANES = 4;

export class Line {
	#canvas;
	#past = []; // {at, kind, took}, oldest first
	#still = matchMedia("(prefers-reduced-motion: reduce)");
	#drawn = 0;

	constructor(canvas) {
		this.#canvas = canvas;
		const frame = (now) => {
			if (now - this.#drawn >= (this.#still.matches ? 1000 : 30)) {
				this.#drawn = now;
				this.#draw(now);
			}
			requestAnimationFrame(frame);
		};
		requestAnimationFrame(frame);
	}

	// add notes that something happened now, and how long it had taken.
	add(kind, took = 0) {
		this.#past.push({ at: performance.now(), kind, took });
	}

	#draw(now) {
		const canvas = this.#canvas;
		const { width, height } = canvas.getBoundingClientRect();
		const scale = devicePixelRatio;
		if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
			canvas.width = Math.round(width * scale);
			canvas.height = Math.round(height * scale);
		}
		const style = getComputedStyle(document.documentElement);
		const colour = (name) => style.getPropertyValue("--" + name);
		const c = canvas.getContext("2d");
		c.setTransform(scale, 0, 0, scale, 0, 0);
		c.clearRect(0, 0, width, height);

		this.#past = this.#past.filter(({ at }) => now - at < SPAN + BIN);
		const x = (at) => width - ((now - at) / SPAN) * width;
		const lane = height / LANES;
		const floor = (i) => (i + 1) * lane - 5;

		c.strokeStyle = colour("rule");
		c.lineWidth = 1;
		for (let i = 1; i < LANES; i++) {
			c.beginPath();
			c.moveTo(0, i * lane);
			c.lineTo(width, i * lane);
			c.stroke();
		}

		// Where one token follows another there is a line through all lanes.
		for (const { at, kind } of this.#past) {
			if (kind !== "refreshed" && kind !== "adopted") continue;
			c.strokeStyle = colour(kind);
			c.globalAlpha = 0.45;
			c.setLineDash([3, 4]);
			c.beginPath();
			c.moveTo(x(at), 0);
			c.lineTo(x(at), height);
			c.stroke();
			c.setLineDash([]);
			c.globalAlpha = 1;
		}

		this.#bars(c, "answered", colour("answered"), x, floor(0), lane - 9, (BIN / SPAN) * width);
		this.#bars(c, "failed", colour("failed"), x, floor(0), lane - 9, (BIN / SPAN) * width);
		this.#bars(c, "replayed", colour("replayed"), x, floor(1), lane - 9, (BIN / SPAN) * width);

		for (const { at, kind, took } of this.#past) {
			if (kind === "refreshed" || kind === "refresh_failed") {
				c.fillStyle = colour(kind === "refreshed" ? "refreshed" : "failed");
				const from = x(at - took);
				c.beginPath();
				c.roundRect(from, 2 * lane + 6, Math.max(x(at) - from, 5), lane - 12, 2);
				c.fill();
			} else if (kind === "adopted") {
				const r = 6;
				const y = 3.5 * lane;
				c.fillStyle = colour("adopted");
				c.beginPath();
				c.moveTo(x(at) - r, y);
				c.lineTo(x(at), y - r);
				c.lineTo(x(at) + r, y);
				c.lineTo(x(at), y + r);
				c.fill();
			}
		}
	}

	#bars(c, kind, colour, x, floor, height, width) {
		const bins = new Map();
		for (const entry of this.#past) {
			if (entry.kind !== kind) continue;
			const bin = Math.floor(entry.at / BIN);
			bins.set(bin, (bins.get(bin) ?? 0) + 1);
		}
		c.fillStyle = colour;
		for (const [bin, n] of bins) {
			const h = Math.max(3, Math.min(n / 20, 1) * height);
			c.fillRect(x(bin * BIN), floor - h, Math.max(width - 1, 1), h);
		}
	}
}
