/**
 * The part of the native module that the adapter uses, typed here so that the build does not need the optional package.
 * Every call on `UwsResponse` after it was ended, closed or aborted throws: `UwsExchange` keeps track.
 */
export interface UwsResponse {
  writeStatus(status: string | Uint8Array): UwsResponse;
  writeHeader(name: string, value: string): UwsResponse;
  /** Chunked. False = not everything could be handed to the kernel; the rest is kept by the native side. */
  write(chunk: Uint8Array): boolean;
  /** Known length. `[ok, hasResponded]`; what did not go out is NOT kept, see `getWriteOffset`. */
  tryEnd(chunk: Uint8Array, totalSize: number): readonly [boolean, boolean];
  end(body?: Uint8Array | string, closeConnection?: boolean): UwsResponse;
  endWithoutBody(): UwsResponse;
  close(): UwsResponse;
  getWriteOffset(): number;
  onWritable(handler: (offset: number) => boolean): UwsResponse;
  onAborted(handler: () => void): UwsResponse;
  onData(handler: (chunk: ArrayBuffer, isLast: boolean) => void): UwsResponse;
  pause(): void;
  resume(): void;
  cork(callback: () => void): UwsResponse;
  getRemoteAddressAsText(): ArrayBuffer;
}

/** Valid only inside the handler. Names of headers are lower case. */
export interface UwsRequest {
  forEach(callback: (name: string, value: string) => void): void;
  getUrl(): string;
  getQuery(): string | undefined;
  getCaseSensitiveMethod(): string;
}

export interface UwsListenSocket {
  readonly kind?: 'us_listen_socket';
}

export interface UwsApp {
  any(pattern: string, handler: (response: UwsResponse, request: UwsRequest) => void): UwsApp;
  filter(callback: (response: UwsResponse, count: number) => void): UwsApp;
  listen(host: string, port: number, options: number, callback: (socket: UwsListenSocket | false) => void): UwsApp;
  close(): UwsApp;
}

export interface UwsModule {
  App(): UwsApp;
  us_listen_socket_close(socket: UwsListenSocket): void;
  us_socket_local_port(socket: UwsListenSocket): number;
  /** `_cfg('silent')` drops the `uWebSockets` response header. */
  _cfg(key: string): void;
}
