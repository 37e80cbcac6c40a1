/** A certificate authority made for one test run, and a server certificate for 127.0.0.1 and localhost. */
export interface TestCa {
  /** The authority's certificate, PEM: what a client has to trust. */
  readonly caPem: string;
  readonly cert: string;
  readonly key: string;
}

/** Makes a fresh authority with the openssl command (about 50 ms). */
export async function makeTestCa(): Promise<TestCa> {
  const dir = await Deno.makeTempDir({ prefix: "test-ca-" });
  try {
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    const caFiles = ["-keyout", "ca.key", "-out", "ca.pem"];
    await openssl(dir, ["req", "-x509", ...curve, ...caFiles, "-subj", "/CN=test authority"]);
    await openssl(dir, [
      "req",
      "-new",
      ...curve,
      "-keyout",
      "server.key",
      "-out",
      "server.csr",
      "-subj",
      "/CN=localhost",
    ]);
    await Deno.writeTextFile(`${dir}/ext`, "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n");
    const signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext", "-days", "2"];
    await openssl(dir, ["x509", "-req", "-in", "server.csr", "-out", "server.pem", ...signer]);
    const [caPem, cert, key] = await Promise.all(
      ["ca.pem", "server.pem", "server.key"].map((name) => Deno.readTextFile(`${dir}/${name}`)),
    );
    return { caPem: caPem ?? "", cert: cert ?? "", key: key ?? "" };
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function openssl(cwd: string, args: string[]): Promise<void> {
  const output = await new Deno.Command("openssl", { args, cwd, stdin: "null" }).output();
  if (!output.success) throw new Error(`openssl ${args[0]}: ${new TextDecoder().decode(output.stderr)}`);
}
