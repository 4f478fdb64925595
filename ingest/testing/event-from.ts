import {
  Actor,
  Approval,
  CiRun,
  Decision,
  EpochOpen,
  Event,
  Exchange,
  FoundJournal,
  MaskCount,
  MaskSummary,
  Note,
  Object as OperationObject,
  Operation,
  Reason,
  ScriptReview,
  Subject,
  UnitRange,
} from '../../proto/gen/chaperone/evidence/v1/event.ts';

/** Any part of a message, at any depth. */
export type Partly<T> = T extends Buffer | bigint | string | number | boolean
  ? T
  : T extends (infer Item)[]
    ? Partly<Item>[]
    : { readonly [K in keyof T]?: Partly<T[K]> | undefined };

interface Codec {
  decode(input: Uint8Array): unknown;
}

/** Which message stands in which member; everything else is a scalar. */
const NESTED = new Map<Codec, Readonly<Record<string, Codec>>>([
  [
    Event,
    {
      subject: Subject,
      operation: Operation,
      decision: Decision,
      exchange: Exchange,
      masks: MaskSummary,
      approvals: Approval,
      epoch: EpochOpen,
      note: Note,
      script: ScriptReview,
      unit: UnitRange,
    },
  ],
  [Subject, { actors: Actor, ci: CiRun }],
  [Operation, { objects: OperationObject }],
  [Decision, { reasons: Reason }],
  [MaskSummary, { counts: MaskCount }],
  [EpochOpen, { journals: FoundJournal }],
]);

/** A whole `Event` with the default of every member that `partial` leaves out. */
export function eventFrom(partial: Partly<Event>): Event {
  return complete(Event, partial) as Event;
}

export function encodeEvent(partial: Partly<Event>): Buffer {
  return Buffer.from(Event.encode(eventFrom(partial)).finish());
}

function complete(codec: Codec, partial: object): object {
  const whole = codec.decode(new Uint8Array(0)) as Record<string, unknown>;
  const nested = NESTED.get(codec) ?? {};
  for (const [name, value] of Object.entries(partial)) {
    const inner = nested[name];
    if (value === undefined) {
      continue;
    }
    if (inner === undefined) {
      whole[name] = value;
    } else {
      whole[name] = Array.isArray(value)
        ? value.map((item: object) => complete(inner, item))
        : complete(inner, value as object);
    }
  }
  return whole;
}
