import { textTable } from '../story/teller.ts';
import type { Step } from '../story/story.ts';

const TABLES = [
  ['/patients', 'application/json'],
  ['/encounters.ndjson', 'application/x-ndjson'],
  ['/observations.csv', 'text/csv'],
  ['/claims', 'application/json'],
  ['/notes', 'application/json'],
] as const;

export const serviceStep: Step = {
  id: 1,
  name: 'service',
  title: 'A clinic has an internal HTTP service. It knows nothing of us.',
  needs: [],
  async run({ upstream, tell, clinicUrl }, checks) {
    tell.say(`It runs at ${clinicUrl} and answers whoever has its service token. What it holds:`);
    const rows: string[][] = [];
    const found: { path: string; type: string; ok: boolean; got: string }[] = [];
    for (const [path, type] of TABLES) {
      const reply = await upstream.get(path);
      const count = rowCount(type, reply.text);
      rows.push([path, type, String(count), reply.text.replaceAll(/\s+/g, ' ').slice(0, 80)]);
      const ok = reply.status === 200 && reply.contentType.startsWith(type) && count > 0;
      found.push({ path, type, ok, got: `${reply.status} ${reply.contentType} with ${count} rows` });
    }
    tell.output(textTable(['TABLE', 'FORMAT', 'ROWS', 'BEGINS WITH'], rows, 56));
    for (const { path, type, ok, got } of found) {
      checks.that(`${path} comes as ${type}`, ok, `200 ${type} with rows`, got);
    }
    return { tables: rows.map(([path, format, count]) => ({ path, format, rows: Number(count) })) };
  },
};

function rowCount(type: string, text: string): number {
  if (type === 'application/json') {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value.length : 0;
  }
  const lines = text.split('\n').filter((line) => line.trim() !== '').length;
  return type === 'text/csv' ? Math.max(0, lines - 1) : lines;
}
