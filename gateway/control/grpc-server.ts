import {
  Server,
  ServerCredentials,
  status,
  type handleUnaryCall,
  type ServerUnaryCall,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { ERROR_CODES, GatewayError, type ErrorReason } from '../../core/kernel/errors.ts';

/** Roles of node certificates that may call a method; the wildcard is for the health service. */
export type MethodRoles = Readonly<Record<string, readonly string[]>>;

export interface ControlService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

export interface ControlServerOptions {
  readonly host: string;
  readonly port: number;
  /** PEM. Peers without a certificate of this CA do not get through the handshake. */
  readonly tls: { readonly ca: Buffer; readonly cert: Buffer; readonly key: Buffer };
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
  const { ca, cert, key } = options.tls;
  const credentials = ServerCredentials.createSsl(ca, [{ cert_chain: cert, private_key: key }], true);
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
  roles: readonly string[],
  handler: (request: Request, call: ServerUnaryCall<Request, Response>) => Promise<Response> | Response,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    const role = peerRole(call.getAuthContext()?.sslPeerCertificate?.subjectaltname);
    if (!roles.includes('*') && !roles.includes(role)) {
      callback({
        code: status.PERMISSION_DENIED,
        details: `this method is for ${roles.join(', ')}; the certificate says '${role}'`,
      });
      return;
    }
    Promise.resolve()
      .then(() => handler(call.request, call))
      .then(
        (response) => callback(null, response),
        (error: unknown) => callback(statusOf(error)),
      );
  };
}

/** The role in the URI name `chaperone://<cluster>/<role>/<name>` of a certificate; empty when there is none. */
export function peerRole(subjectAltName: string | undefined): string {
  for (const name of (subjectAltName ?? '').split(', ')) {
    const match = /^URI:chaperone:\/\/[^/]+\/([a-z]+)\/[^/]+$/.exec(name);
    if (match !== null) {
      return match[1] ?? '';
    }
  }
  return '';
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
