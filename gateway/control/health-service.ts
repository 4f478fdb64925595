import type { sendUnaryData, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import {
  HealthCheckResponse_ServingStatus as Serving,
  HealthService,
  type HealthCheckRequest,
  type HealthCheckResponse,
} from '../../proto/gen/grpc/health/v1/health.ts';
import type { Clock, Timer } from '../../core/kernel/clock.ts';
import type { ControlService } from './grpc-server.ts';

const WATCH_MS = 1_000;

/** grpc.health.v1 over the node's readiness. Every service name answers the same. */
export function healthService(clock: Clock, isReady: () => boolean): ControlService {
  const now = (): HealthCheckResponse => ({ status: isReady() ? Serving.SERVING : Serving.NOT_SERVING });
  return {
    definition: HealthService,
    implementation: {
      check: (
        _call: ServerUnaryCall<HealthCheckRequest, HealthCheckResponse>,
        callback: sendUnaryData<HealthCheckResponse>,
      ) => callback(null, now()),
      watch: (call: ServerWritableStream<HealthCheckRequest, HealthCheckResponse>) => {
        let last = now();
        let timer: Timer;
        call.write(last);
        const look = (): void => {
          const next = now();
          if (next.status !== last.status) {
            last = next;
            call.write(next);
          }
          timer = clock.after(WATCH_MS, look);
        };
        timer = clock.after(WATCH_MS, look);
        call.on('cancelled', () => timer.cancel());
        call.on('close', () => timer.cancel());
      },
    },
  };
}
