// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * Layers around the handler of a terminal: one thing at a time, and answers on a connection of the
 * terminal's own to the POS.
 *
 * @module
 */
import net from "node:net";
import { type Handler, type Listener, type Request, reset, type Wire } from "../server.ts";
import { type Forms, warning } from "./warnings.ts";

// ---------------------------------------------------------------- one thing at a time

/** What a terminal is busy with, and what came meanwhile to one that does not read then. */
export class Busy {
  readonly #underWay = new Set<Request>();
  readonly #unread = new Set<() => void>(); // each reads a request
  readonly #isOn: () => boolean;
  readonly #reads: () => boolean;

  /**
   * `isOn`: whether the terminal does one thing at a time; `reads`: whether it reads meanwhile. Both
   * may change while it runs.
   */
  constructor(isOn: () => boolean, reads: () => boolean) {
    this.#isOn = isOn;
    this.#reads = reads;
  }

  /** Whether it does something, and nothing else meanwhile. */
  get isBusy(): boolean {
    return this.#isOn() && this.#underWay.size > 0;
  }

  /** It serves a request, until that is over. */
  serve(request: Request): void {
    this.#underWay.add(request);
  }

  /** Is told what happens. */
  readonly listener: Listener = ({ event, request }) => {
    if (event !== "over" || !this.#underWay.delete(request!) || this.#unread.size === 0) return;
    // Later: where several end at once, such as with a reset, those that were not read end as well.
    queueMicrotask(() => this.readOn());
  };

  /** Reads what was not read, until it is busy again. */
  readOn(): void {
    for (const read of this.#unread) if (!this.isBusy) read();
  }

  /** Lets a terminal that does not read while it is busy handle what came meanwhile afterwards. */
  readonly layer = (next: Handler): Handler => (request, wire) => {
    if (!this.isBusy || this.#reads()) return next(request, wire);
    request.warn(warning("busy", "unread"));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const read = (): void => {
      this.#unread.delete(read);
      request.begun = request.line.settings.clock.now();
      if (request.over) return resolve();
      Promise.resolve(next(request, wire)).then(resolve, reject);
    };
    // A POS that has closed its side is still read, one that has reset the connection is not.
    const leave = ({ reason }: AbortSignal): void => {
      if (reason !== "closed" && this.#unread.delete(read)) resolve();
    };
    this.#unread.add(read);
    for (const signal of [request.left, wire.ended]) {
      signal.addEventListener("abort", () => leave(signal), { once: true });
      if (signal.aborted) leave(signal);
    }
    return promise;
  };
}

// ---------------------------------------------------------------- answers on another connection

/** Answers that go to a port of the POS, on connections of the terminal's own. */
export class CallingBack {
  readonly #port: number;
  readonly #sockets = new Set<net.Socket>();

  /** To a TCP port of each POS, at the address that its request came from. */
  constructor(port: number) {
    this.#port = port;
  }

  /** Has a handler answer there. */
  readonly layer = (next: Handler): Handler => async (request, wire) => {
    const back = new WayBack(request, wire, this.#port, this.#sockets);
    await next(request, back);
    await back.finish();
  };

  /** Is told what happens: that the POS leaves where it asked says nothing. */
  readonly listener: Listener = ({ event, request }) => {
    if (event === "request") request!.isElsewhere = true;
  };

  /** Ends the connections that it has made. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** The way back to a POS on a connection to it, which is made when there is something to send. */
class WayBack implements Wire {
  readonly #request: Request;
  readonly #wire: Wire;
  readonly #port: number;
  readonly #sockets: Set<net.Socket>;
  #socket: net.Socket | undefined;
  #sent = ""; // what is to be sent, too
  #isDown = false; // nothing more goes there
  #last: Promise<void> = Promise.resolve(); // one thing after another: it may yet be connecting

  constructor(request: Request, wire: Wire, port: number, sockets: Set<net.Socket>) {
    this.#request = request;
    this.#wire = wire;
    this.#port = port;
    this.#sockets = sockets;
  }

  get sent(): string {
    return this.#sent;
  }

  get ended(): AbortSignal {
    return this.#wire.ended;
  }

  send(bytes: string, part?: "interim"): boolean {
    if (!part) this.#sent += bytes;
    this.#do(async () => {
      const socket = this.#isDown ? undefined : await this.#connected();
      if (this.ended.aborted) return;
      const isThere = socket?.writable === true;
      if (isThere) socket.write(bytes, "latin1");
      else if (socket && !this.#isDown) this.#warn("closed");
      if (!isThere) this.#isDown = part === undefined;
      this.#request.note(isThere ? bytes : "", part);
    });
    return !this.#isDown;
  }

  end(how?: "reset"): void {
    this.#do(async () => {
      const socket = this.#isDown ? undefined : await this.#connected();
      if (socket) hangUp(socket, how, this.#request.line.settings.bounds.close);
      this.#isDown = true;
      this.#wire.end(how);
    });
  }

  /** Resolves when all of that is done; closes the connection if an answer went there. */
  async finish(): Promise<void> {
    await this.#last;
    if (this.#socket && this.#sent !== "" && !this.#isDown) {
      hangUp(this.#socket, undefined, this.#request.line.settings.bounds.close);
    }
  }

  #do(what: () => Promise<void>): void {
    this.#last = this.#last.then(what);
  }

  /** The connection, if the POS listens. Warns if it does not. */
  async #connected(): Promise<net.Socket | undefined> {
    if (this.#socket || this.ended.aborted) return this.#socket;
    const { line: { address: host, settings: { bounds } } } = this.#request;
    const socket = net.connect({ host, port: this.#port, noDelay: true });
    this.#sockets.add(socket);
    const stop = (): void => void socket.destroy();
    this.ended.addEventListener("abort", stop);
    socket.on("close", () => {
      this.#sockets.delete(socket);
      this.ended.removeEventListener("abort", stop);
      this.#onClose(socket);
    });
    socket.resume(); // what the POS says there is not read
    const timer = setTimeout(stop, bounds.close);
    const isThere = await new Promise<boolean>((resolve) => {
      socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
      socket.on("close", () => resolve(false));
    });
    clearTimeout(timer);
    if (isThere) this.#socket = socket;
    else if (!this.ended.aborted) this.#warn(socket.errored ? "absent" : "silent");
    return this.#socket;
  }

  /** The POS has reset that connection: it has perhaps not read the answer. */
  #onClose(socket: net.Socket): void {
    const { code } = Object(socket.errored) as NodeJS.ErrnoException;
    if (code !== "ECONNRESET" || !this.#request.over || this.#request.lost) return;
    this.#request.isElsewhere = false;
    this.#request.leave("reset", true);
  }

  #warn(form: Forms["callback"]): void {
    const host = this.#request.line.address;
    this.#request.warn(warning("callback", form, { host, port: this.#port }));
  }
}

/** Ends a connection; the POS has so many milliseconds to end its side. */
function hangUp(socket: net.Socket, how: "reset" | undefined, milliseconds: number): void {
  if (how) reset(socket);
  else socket.end();
  const timer = setTimeout(() => socket.destroy(), milliseconds);
  socket.on("close", () => clearTimeout(timer));
}
