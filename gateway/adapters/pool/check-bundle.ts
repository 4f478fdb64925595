import { Piscina } from 'piscina';
import { ERROR_CODES, GatewayError, type ErrorCode } from '../../../core/kernel/errors.ts';
import type { BundleJob, CheckedBundle } from './bundle-job.ts';

/**
 * Verifies, compiles and warms a bundle off this thread: the main thread of a node goes on answering probes meanwhile.
 * Rejects GatewayError `bundle_unsigned | bundle_invalid | catalogue_invalid`. The pool lives for one call.
 */
export async function checkBundleInPool(job: BundleJob): Promise<CheckedBundle> {
  const pool = new Piscina({
    filename: new URL(`./bundle-job${import.meta.url.slice(-3)}`, import.meta.url).href,
    maxThreads: 1,
    idleTimeout: 0,
  });
  try {
    return (await pool.run(job)) as CheckedBundle;
  } catch (error) {
    throw asGatewayError(error);
  } finally {
    await pool.destroy();
  }
}

/** An error that crossed threads has lost its class; the text begins with its code. */
function asGatewayError(error: unknown): GatewayError {
  const message = error instanceof Error ? error.message : '';
  const [code = '', ...detail] = message.split(': ');
  return code in ERROR_CODES
    ? new GatewayError(code as ErrorCode, detail.join(': '), { cause: error })
    : new GatewayError('bundle_invalid', 'the bundle could not be checked', { cause: error });
}
