export type Row = Readonly<Record<string, string | number | null>>;

export interface ClinicState {
  readonly receivedBytes: number;
  readonly received: number;
  readonly requests: number;
}

/** The clinic and the analytics sink, reached directly: what they say and got, next to what the agent sees. */
export class Upstream {
  readonly #url: string;
  readonly #token: string;

  constructor(url: string, token: string) {
    this.#url = url;
    this.#token = token;
  }

  async get(path: string): Promise<{ status: number; contentType: string; text: string }> {
    const response = await fetch(`${this.#url}${path}`, { headers: { authorization: `Bearer ${this.#token}` } });
    const text = await response.text();
    return { status: response.status, contentType: response.headers.get('content-type') ?? '', text };
  }

  async rows(path: string): Promise<Row[]> {
    return JSON.parse((await this.get(path)).text) as Row[];
  }

  async switch(name: 'extra-field' | 'leak', on: boolean): Promise<void> {
    await fetch(`${this.#url}/_demo/${name}?on=${String(on)}`, { method: 'PUT' });
  }

  async state(): Promise<ClinicState> {
    return (await (await fetch(`${this.#url}/_demo/state`)).json()) as ClinicState;
  }
}
