/** One step of the schema. Never edited after it was released: a change is a new step. */
export interface Migration {
  readonly number: number;
  readonly name: string;
  /** Each runs alone and can run again: a crash between two of them, or before the step was recorded, is repaired so. */
  readonly statements: readonly string[];
}

/**
 * Durable when the insert returns; repeated inserts with one token count once. A part below 64 MiB is one file: a
 * hundred files of columns would be a hundred flushes an insert.
 */
export const TABLE_SETTINGS =
  'SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000, ' +
  'min_bytes_for_wide_part = 67108864, min_rows_for_wide_part = 0';
