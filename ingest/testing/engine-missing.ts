import { createRequire } from 'node:module';

/** For `skip`: why the embedded engine cannot run here, or false when it can. */
export function engineMissing(): string | false {
  const { platform, arch } = process;
  const require = createRequire(import.meta.url);
  const names = [
    `@chdb/lib-${platform}-${arch}`,
    `@chdb/lib-${platform}-${arch}-gnu`,
    `@chdb/lib-${platform}-${arch}-glibc`,
  ];
  for (const name of names) {
    try {
      require.resolve(`${name}/package.json`);
      return false;
    } catch {
      // Not this one.
    }
  }
  return `chdb has no engine for ${platform}-${arch} here: run npm install on Linux (glibc) or macOS`;
}
