// What wrangler's rules make of imports that are not TypeScript.
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}
declare module "*.html" {
  const text: string;
  export default text;
}
// The part of Node's zlib that workerd (nodejs_compat) and Deno share; older
// runtimes have it without zstd.
declare module "node:zlib" {
  type Decompress = (bytes: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
  export const zstdDecompressSync: Decompress | undefined;
  export const gunzipSync: Decompress;
}
// The part of the Streams standard that the types of workerd leave out.
interface ReadableStreamBYOBReader {
  read<T extends ArrayBufferView>(view: T, options: { min: number }): Promise<ReadableStreamReadResult<T>>;
}
