import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SeededRandom } from '../../../core/kernel/testing/seeded-random.ts';
import { packageRoot } from '../../../core/runtime/package-root.ts';

export type Media = 'json' | 'ndjson' | 'csv';

/** A route of the committed catalogue whose answers can be made up. */
export interface CanaryRoute {
  readonly path: string;
  readonly media: Media;
  readonly columns: readonly { readonly name: string; readonly isPhi: boolean; readonly isText: boolean }[];
}

interface CatalogueFile {
  readonly classes: Readonly<Record<string, { readonly phi: boolean }>>;
  readonly tables: Readonly<Record<string, Readonly<Record<string, string | { class: string; scan?: boolean }>>>>;
  readonly shapes: Readonly<Record<string, { readonly table?: string }>>;
  readonly connections: Readonly<
    Record<string, { routes: { method: string; path: string; safe: boolean; response: string }[] }>
  >;
}

/** Every read of the clinic that needs no approval, with the columns that its catalogue declares. */
export function canaryRoutes(): CanaryRoute[] {
  const path = join(packageRoot(import.meta.url), 'policies', 'catalogue.json');
  const catalogue = JSON.parse(readFileSync(path, 'utf8')) as CatalogueFile;
  const routes = catalogue.connections['clinic']?.routes ?? [];
  return routes
    .filter((route) => route.method === 'GET' && route.safe)
    .map((route) => {
      const table = catalogue.tables[catalogue.shapes[route.response]?.table ?? ''] ?? {};
      const columns = Object.entries(table).map(([name, rule]) => {
        const { class: className, scan = false } = typeof rule === 'string' ? { class: rule } : rule;
        return { name, isPhi: catalogue.classes[className]?.phi === true, isText: scan };
      });
      const media = route.path.endsWith('.csv') ? 'csv' : route.path.endsWith('.ndjson') ? 'ndjson' : 'json';
      return { path: route.path.replace('{id}', 'p-1'), media, columns };
    });
}

/** Values that may never be seen in clear. Each is of its own; all hold `marker`, so that one search finds any of them. */
export class CanaryMint {
  readonly marker: string;
  /** Identifiers in the form of real ones, which cannot hold the marker. */
  readonly numbers: string[] = [];
  minted = 0;
  readonly #random: SeededRandom;

  constructor(random: SeededRandom) {
    this.#random = random;
    this.marker = `Qz${random.bytes(6).toString('hex')}`;
  }

  value(): string {
    this.minted++;
    const around = ['', ' ', ',', '"', '\n', 'é', '😀', '\\', '\t', ';', "'"];
    const random = this.#random;
    return `${random.pick(around)}${this.marker}${random.bytes(8).toString('hex')}${random.pick(around)}`;
  }

  /** A sentence with one identifier that a scanner knows. */
  text(): string {
    const random = this.#random;
    this.minted++;
    if (random.below(2) === 0) {
      return `write to ${this.marker}.${this.minted}@example.org please`;
    }
    const digits = (count: number): string => String(10 ** (count - 1) + random.below(9 * 10 ** (count - 1)));
    const number = `9${digits(2)}-${digits(2)}-${digits(4)}`;
    this.numbers.push(number);
    return `number ${number}, as told`;
  }
}

/** The body of one answer: canaries in every identifying column, in free text, and in members that nobody declared. */
export function canaryBody(random: SeededRandom, mint: CanaryMint, route: CanaryRoute): Buffer {
  const strays = random.below(3) === 0 ? [`stray_${random.below(1_000)}`] : [];
  const rows = Array.from({ length: 1 + random.below(5) }, () => {
    const cells = route.columns.map(({ name, isPhi, isText }): [string, string] => [
      name,
      isPhi ? mint.value() : isText ? mint.text() : `plain-${random.below(100)}`,
    ]);
    return [...cells, ...strays.map((name): [string, string] => [name, mint.value()])];
  });
  if (route.media === 'csv') {
    const names = rows[0]?.map(([name]) => name) ?? [];
    const lines = rows.map((row) => row.map(([, value]) => `"${value.replaceAll('"', '""')}"`).join(','));
    return Buffer.from(`${[names.join(','), ...lines].join('\r\n')}\r\n`);
  }
  const objects = rows.map((row) => {
    const members = row.map(([name, value]) => `${jsonText(random, name)}:${jsonText(random, value)}`);
    if (route.media === 'json' && random.below(4) === 0) {
      members.push(`"deep":{"er":[{"est":${jsonText(random, mint.value())}}]}`);
    }
    return `{${members.join(',')}}`;
  });
  return Buffer.from(route.media === 'ndjson' ? `${objects.join('\n')}\n` : `[${objects.join(',')}]`);
}

/** JSON source of a string, with some characters written as escapes. */
function jsonText(random: SeededRandom, text: string): string {
  const share = random.pick([0, 0, 0.1, 1]);
  const plain = JSON.stringify(text);
  if (share === 0) {
    return plain;
  }
  const units = Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
  const isSafe = (unit: number): boolean => unit >= 0x20 && unit < 0x7f && unit !== 0x22 && unit !== 0x5c;
  return `"${units
    .map((unit) =>
      isSafe(unit) && random.next() >= share ? String.fromCharCode(unit) : `\\u${unit.toString(16).padStart(4, '0')}`,
    )
    .join('')}"`;
}
