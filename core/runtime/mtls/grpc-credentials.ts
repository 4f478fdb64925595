import { X509Certificate } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';
import { ChannelCredentials, credentials, ServerCredentials, status } from '@grpc/grpc-js';
import { GatewayError } from '../../kernel/errors.ts';
import { identityOf, type NodeIdentity, type NodeRole } from './node-certificate.ts';
import type { TlsIdentity } from './tls-files.ts';

/** The part of a gRPC call that says who calls. */
export interface AuthenticatedCall {
  getAuthContext(): { sslPeerCertificate?: PeerCertificate };
}

/** A gRPC status that a handler may give to its callback. */
export interface GrpcRefusal {
  readonly code: status;
  readonly details: string;
}

/**
 * Options for a client's channel: reconnects soon, and names no IP address in TLS (RFC 6066 forbids it). The server is
 * known by the role in its certificate, not by its host name.
 */
export const CLIENT_CHANNEL_OPTIONS = {
  'grpc.ssl_target_name_override': 'localhost',
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
} as const;

/** Credentials of a server that accepts only clients with a certificate of the cluster. */
export function serverCredentials(tls: TlsIdentity): ServerCredentials {
  return ServerCredentials.createSsl(tls.ca, [{ private_key: tls.key, cert_chain: tls.cert }], true);
}

/** Credentials of a client that talks only to a server of the cluster with this role, whatever its host name. */
export function clientCredentials(tls: TlsIdentity, serverRole: NodeRole): ChannelCredentials {
  return credentials.createSsl(tls.ca, tls.key, tls.cert, {
    checkServerIdentity: (_host, certificate) => {
      try {
        const { role } = identityOf(new X509Certificate(certificate.raw));
        return role === serverRole ? undefined : new GatewayError('auth_invalid', `the server is a ${role}`);
      } catch (error) {
        return error instanceof Error ? error : new GatewayError('auth_invalid', 'the server has no identity');
      }
    },
  });
}

/**
 * Who calls, when the certificate names a node of `cluster` with one of `roles`; else the status to answer with. TLS has
 * already checked chain and dates.
 */
export function authorize(
  call: AuthenticatedCall,
  cluster: string,
  roles: readonly NodeRole[],
): NodeIdentity | GrpcRefusal {
  const raw = call.getAuthContext().sslPeerCertificate?.raw;
  if (raw === undefined) {
    return { code: status.UNAUTHENTICATED, details: 'auth_missing' };
  }
  let identity: NodeIdentity;
  try {
    identity = identityOf(new X509Certificate(raw));
  } catch {
    return { code: status.UNAUTHENTICATED, details: 'auth_invalid' };
  }
  if (identity.cluster !== cluster || !roles.includes(identity.role)) {
    return { code: status.PERMISSION_DENIED, details: `auth_invalid: not for a ${identity.role}` };
  }
  return identity;
}

export function isRefusal(result: NodeIdentity | GrpcRefusal): result is GrpcRefusal {
  return 'code' in result;
}
