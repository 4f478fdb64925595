import {
  Server,
  status,
  type handleUnaryCall,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { ERROR_CODES, GatewayError, type ErrorReason } from '../../core/kernel/errors.ts';
import { authorize, isRefusal, serverCredentials } from '../../core/runtime/mtls/grpc-credentials.ts';
import type { NodeIdentity, NodeRole } from '../../core/runtime/mtls/node-certificate.ts';
import type { TlsIdentity } from '../../core/runtime/mtls/tls-files.ts';

export interface ControlService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

export interface ControlServerOptions {
  readonly host: string;
  readonly port: number;
  /** Peers without a certificate of the same CA do not get through the handshake. */
  readonly tls: TlsIdentity;
  readonly services: readonly ControlService[];
}

export interface ControlServer {
  readonly port: number;
  close(): Promise<void>;
}

const MESSAGE_BYTES_MAX = 1024 * 1024;

/** gRPC over mutual TLS. Every method goes through `guarded`, which checks the role of the peer's certificate. */
export function startControlServer(options: ControlServerOptions): Promise<ControlServer> {
  const server = new Server({
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_concurrent_streams': 256,
  });
  for (const { definition, implementation } of options.services) {
    server.addService(definition, implementation);
  }
  const credentials = serverCredentials(options.tls);
  return new Promise((resolve, reject) => {
    server.bindAsync(`${options.host}:${options.port}`, credentials, (error, port) => {
      if (error !== null) {
        reject(
          new GatewayError('config_invalid', `control: cannot listen on ${options.host}:${options.port}`, {
            cause: error,
          }),
        );
        return;
      }
      resolve({ port, close: () => closeServer(server) });
    });
  });
}

/**
 * A unary handler that checks the peer's role, runs, and maps failures: a `GatewayError` keeps its code and detail in
 * the status text (`code: detail`), anything else is INTERNAL without its text.
 */
export function guarded<Request, Response>(
  cluster: string,
  roles: readonly NodeRole[],
  handler: (request: Request, caller: NodeIdentity) => Promise<Response> | Response,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    const caller = authorize(call, cluster, roles);
    if (isRefusal(caller)) {
      callback(caller);
      return;
    }
    Promise.resolve()
      .then(() => handler(call.request, caller))
      .then(
        (response) => callback(null, response),
        (error: unknown) => callback(statusOf(error)),
      );
  };
}

const STATUS_OF_REASON: Partial<Record<ErrorReason, status>> = {
  auth: status.UNAUTHENTICATED,
  policy: status.PERMISSION_DENIED,
  limit: status.RESOURCE_EXHAUSTED,
  recorder: status.UNAVAILABLE,
  bus: status.UNAVAILABLE,
  keystore: status.UNAVAILABLE,
  draining: status.UNAVAILABLE,
};

function statusOf(error: unknown): { code: status; details: string } {
  if (!(error instanceof GatewayError)) {
    return { code: status.INTERNAL, details: 'internal' };
  }
  const { http, reason } = ERROR_CODES[error.code];
  const byHttp =
    http === 404
      ? status.NOT_FOUND
      : http === 403
        ? status.PERMISSION_DENIED
        : http === 409
          ? status.FAILED_PRECONDITION
          : undefined;
  const code = byHttp ?? STATUS_OF_REASON[reason] ?? status.FAILED_PRECONDITION;
  return { code, details: error.message };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.tryShutdown(() => resolve());
    // Streams and idle connections must not hold a drain.
    server.forceShutdown();
  });
}
