import { pino, type DestinationStream } from 'pino';

/** Fields that a log line may have. Logs are for operators; payload, tokens and statements are not among them. */
export interface LogFields {
  readonly role?: string;
  readonly node?: string;
  readonly worker?: number;
  readonly writer?: string;
  readonly index?: number;
  readonly code?: string;
  readonly reason?: string;
  readonly detail?: string;
  readonly connection?: string;
  readonly route?: string;
  readonly outcome?: string;
  readonly status?: number;
  readonly durationMs?: number;
  readonly rows?: number;
  readonly bytes?: number;
  readonly port?: number;
  readonly path?: string;
  readonly pid?: number;
  readonly digest?: string;
  readonly count?: number;
  readonly error?: string;
}

export interface Log {
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

const ALLOWED: ReadonlySet<string> = new Set([
  'role',
  'node',
  'worker',
  'writer',
  'index',
  'code',
  'reason',
  'detail',
  'connection',
  'route',
  'outcome',
  'status',
  'durationMs',
  'rows',
  'bytes',
  'port',
  'path',
  'pid',
  'digest',
  'count',
  'error',
]);

/** A logger with bound fields. What is not on the list is dropped, not printed. */
export function createLog(bound: LogFields, destination?: DestinationStream): Log {
  const options = {
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const logger = (
    destination === undefined ? pino(options, pino.destination({ dest: 2, sync: true })) : pino(options, destination)
  ).child(allowed(bound));
  return {
    info: (event, fields) => logger.info(allowed(fields), event),
    warn: (event, fields) => logger.warn(allowed(fields), event),
    error: (event, fields) => logger.error(allowed(fields), event),
  };
}

function allowed(fields: LogFields = {}): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (ALLOWED.has(name) && value !== undefined) {
      out[name] = typeof value === 'string' ? value.slice(0, 500) : value;
    }
  }
  return out;
}
