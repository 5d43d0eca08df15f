// Browsers start no worker from a file. In a page opened from disk the search runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.addEventListener("load", () => {
        const inside = this.frame.contentWindow;
        inside.postMessage = (data) => this.onmessage?.({ data });
        const script = inside.document.createElement("script");
        script.src = url;
        script.addEventListener("load", () => {
          const waiting = this.waiting;
          this.waiting = null;
          waiting.forEach((data) => this.postMessage(data));
        });
        script.addEventListener("error", (event) => this.onerror?.(event));
        inside.document.body.append(script);
      }, { once: true });
      this.frame.srcdoc = "<body></body>";
      document.documentElement.append(this.frame);
    }
    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else setTimeout(() => this.frame.contentWindow?.onmessage?.({ data }));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
