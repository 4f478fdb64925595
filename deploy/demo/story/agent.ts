export interface AgentReply {
  readonly status: number;
  readonly contentType: string;
  /** Position of the operation's record, `<writer>/<index>`; empty when the gateway gave none. */
  readonly evidence: string;
  readonly text: string;
}

/** The native error of the gateway (`application/problem+json`). */
export interface Problem {
  readonly code: string;
  readonly detail?: string;
  readonly reasons: readonly { readonly id: string; readonly msg: string; readonly remediation: string }[];
  readonly approval?: { readonly id: string };
}

interface Message {
  readonly method: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

const REPLY_MS = 60_000;

/** An AI agent in a CI run: it knows the address of the gateway and its own token, and nothing else. */
export class Agent {
  readonly #url: string;
  readonly #token: string;

  constructor(url: string, token: string) {
    this.#url = url;
    this.#token = token;
  }

  /** Resolves when the whole body is here; rejects when the connection breaks before. `onHead` hears of every answer that began. */
  async get(path: string, onHead?: (evidence: string) => void): Promise<AgentReply> {
    return this.#send(path, { method: 'GET' }, onHead);
  }

  async postJson(path: string, body: string): Promise<AgentReply> {
    return this.#send(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  }

  async #send(path: string, message: Message, onHead?: (evidence: string) => void): Promise<AgentReply> {
    const response = await fetch(`${this.#url}${path}`, {
      ...message,
      headers: { ...message.headers, authorization: `Bearer ${this.#token}` },
      signal: AbortSignal.timeout(REPLY_MS),
    });
    const evidence = response.headers.get('evidence') ?? '';
    onHead?.(evidence);
    const text = await response.text();
    return { status: response.status, contentType: response.headers.get('content-type') ?? '', evidence, text };
  }
}

/** Null when the reply is not one. */
export function problemOf(reply: AgentReply): Problem | null {
  return reply.contentType.startsWith('application/problem+json') ? (JSON.parse(reply.text) as Problem) : null;
}

/** The claims of a token, as anybody who holds it can read them. */
export function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as Record<string, unknown>;
}
