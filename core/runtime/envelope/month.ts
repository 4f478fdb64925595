/** YYYYMM of a moment, UTC: the period of a wrapping pair. */
export function monthOf(nowMs: number): number {
  const date = new Date(nowMs);
  return date.getUTCFullYear() * 100 + date.getUTCMonth() + 1;
}

export function nextMonth(month: number): number {
  return month % 100 === 12 ? month + 89 : month + 1;
}

/** First millisecond of a month. */
export function monthStartMs(month: number): number {
  return Date.UTC(Math.floor(month / 100), (month % 100) - 1, 1);
}

/** YYYYMMDD of a moment, UTC: the period of a daily key. */
export function dayOf(nowMs: number): number {
  return monthOf(nowMs) * 100 + new Date(nowMs).getUTCDate();
}
