import { bytesText, countText, printable } from '../print.ts';
import type { Conversation, ExchangeView, MessageView } from './conversation.ts';
import type { SessionSummary } from './session-index.ts';
import type { SessionFinding } from './verified-records.ts';

const BODY_CHARACTERS_MAX = 4_000;

/** A played session for people. Bodies are what the agent got, cut only here, for the terminal. */
export function printSession(
  session: SessionSummary,
  conversation: Conversation,
  findings: readonly SessionFinding[],
  isWhole: boolean,
): string[] {
  const chain = [
    session.who,
    ...session.through,
    session.run === '' ? '' : `run ${session.run}`,
    session.commit === '' ? '' : `commit ${session.commit.slice(0, 12)}`,
  ].filter((part) => part !== '');
  const timeline = [
    ...conversation.others.map(({ timeMs, kind, detail }) => ({
      timeMs,
      lines: [`${clockText(timeMs)}  ${kind}${detail === '' ? '' : `: ${printable(detail)}`}`],
    })),
    ...conversation.exchanges.map((exchange) => ({
      timeMs: exchange.timeMs,
      lines: ['', ...exchangeLines(exchange, isWhole), ''],
    })),
  ].sort((a, b) => a.timeMs - b.timeMs);
  return [
    `Session ${session.session}`,
    printable(`  ${chain.join(' > ')}`),
    `  ${session.started} to ${session.ended}, ${session.connections.join(', ')}`,
    '',
    ...timeline.flatMap(({ lines }) => lines),
    ...findingLines(findings),
  ];
}

function exchangeLines(exchange: ExchangeView, isWhole: boolean): string[] {
  const { request, response } = exchange;
  const line = request === null ? `${exchange.text} (no request recorded)` : `${request.method} ${request.target}`;
  return [
    `${clockText(exchange.timeMs)}  ${printable(line)}   on ${exchange.connection}   [${exchange.position}]`,
    ...(request === null ? [] : messageLines('>', { ...request, headers: request.headers }, isWhole)),
    ...decisionLines(exchange),
    ...(response === null ? [`  < ${withoutResponse(exchange)}`] : []),
    ...(response === null ? [] : [`  < ${response.status}`, ...messageLines('<', response, isWhole)]),
    ...outcomeLines(exchange),
  ];
}

function withoutResponse({ effect, aborted }: ExchangeView): string {
  if (effect !== 'allow') {
    return 'refused by the gateway: nothing went to the upstream';
  }
  return aborted === '' ? 'no response is recorded' : 'nothing of the upstream reached the agent';
}

function messageLines(mark: string, message: MessageView, isWhole: boolean): string[] {
  const head = message.headers.map(({ name, value }) => `  ${mark} ${printable(`${name}: ${value}`)}`);
  if (message.body.length === 0) {
    return head;
  }
  const text = message.body.toString('utf8');
  const shown = isWhole ? text : text.slice(0, BODY_CHARACTERS_MAX);
  const rest = text.length - shown.length;
  const lines = printable(shown)
    .trimEnd()
    .split('\n')
    .map((line) => `  ${mark} ${line}`);
  return [
    ...head,
    `  ${mark}`,
    ...lines,
    ...(rest > 0 ? [`  ${mark} … ${countText(rest)} more characters (--whole)`] : []),
  ];
}

function decisionLines({ effect, code, reasons, policy, approvals }: ExchangeView): string[] {
  const outcome = code === '' ? effect : `${effect} (${code})`;
  return [
    `  = ${outcome} by policy ${policy.digest.slice(0, 12)} revision ${policy.revision}`,
    ...reasons.map((reason) => `  =   ${reason.layer}: ${printable(reason.message)} (${reason.code})`),
    ...approvals.map(
      ({ id, state, approver }) =>
        `  =   approval ${id} ${state}${approver === '' ? '' : ` by ${printable(approver)}`}`,
    ),
  ];
}

function outcomeLines({ response, rows, masks, aborted, deliveredBytes }: ExchangeView): string[] {
  if (response === null) {
    return [];
  }
  const parts = [`${countText(rows)} rows`, bytesText(response.body.length)];
  if (masks !== null) {
    const byAction = new Map<string, number>();
    for (const { action, count } of masks.counts) {
      byAction.set(action, (byAction.get(action) ?? 0) + Number(count));
    }
    const counts = [...byAction].map(([action, count]) => `${countText(count)} ${action}`);
    parts.push(`masked: ${counts.length === 0 ? 'nothing' : counts.join(', ')} (${masks.profile})`);
    if (masks.withheld > 0n) {
      parts.push(`withheld as unknown: ${countText(Number(masks.withheld))} (${masks.unknownPaths.join(', ')})`);
    }
  }
  parts.push(deliveredBytes === null ? 'no delivery record' : `${bytesText(deliveredBytes)} delivered`);
  return [printable(`  = ${parts.join('; ')}`), ...(aborted === '' ? [] : [printable(`  = ended early: ${aborted}`)])];
}

function findingLines(findings: readonly SessionFinding[]): string[] {
  return findings.map(({ verdict, position, detail }) => `${verdict}  ${position}: ${detail}`);
}

function clockText(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(11, 23);
}
