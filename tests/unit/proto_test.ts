import { deepEqual, equal, ok as assert } from "node:assert/strict";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { facts } from "../../proto/facts.ts";
import * as api from "../../src/cri/gen/api.ts";

/*
 * proto/facts.txt is what the published definition says, written by `scripts/proto --facts` from the Go module. Ours is
 * compared with it twice: its descriptors, where protoc is installed, and the generated codec, always.
 */

const root = new URL("../../", import.meta.url).pathname;
const published = Deno.readTextFileSync(`${root}proto/facts.txt`);

interface Field {
  readonly number: number;
  readonly repeated: boolean;
  /** A scalar's name, or `.package.Type`. */
  readonly type: string;
}

interface Published {
  readonly messages: ReadonlyMap<string, readonly Field[]>;
  readonly maps: ReadonlySet<string>;
  readonly enums: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly services: ReadonlyMap<string, readonly string[]>;
}

function parse(text: string): Published {
  const messages = new Map<string, Field[]>();
  const maps = new Set<string>();
  const enums = new Map<string, Map<string, number>>();
  const services = new Map<string, string[]>();
  for (const block of text.trim().split(/\n(?! )/)) {
    const [head = "", ...lines] = block.split("\n");
    const [kind = "", name = "", isMap] = head.split(" ");
    if (kind === "enum") {
      enums.set(
        name,
        new Map(lines.map((line) => [line.trim().split(" ")[1] ?? "", Number(line.trim().split(" ")[0])])),
      );
    } else if (kind === "service") {
      services.set(name, lines.map((line) => line.trim()));
    } else {
      if (isMap !== undefined) maps.add(`.${name}`);
      messages.set(
        name,
        lines.map((line) => {
          const [number = "", , ...type] = line.trim().split(" ");
          return { number: Number(number), repeated: type.length > 1, type: type.at(-1) ?? "" };
        }),
      );
    }
  }
  return { messages, maps, enums, services };
}

const known = parse(published);

/** A message with every field set, twice where it repeats, as any other implementation would encode it. */
function sample(message: string, depth: number): Uint8Array {
  const writer = new BinaryWriter();
  for (const field of known.messages.get(message) ?? []) {
    const isMap = known.maps.has(field.type);
    const times = field.repeated && !isMap ? 2 : 1;
    if (field.repeated && PACKED.has(field.type)) {
      const packed = new BinaryWriter();
      for (let i = 0; i < times; i++) scalar(packed, field.type);
      writer.tag(field.number, WireType.LengthDelimited).bytes(packed.finish());
      continue;
    }
    for (let i = 0; i < times; i++) one(writer, field, depth);
  }
  return writer.finish();
}

const PACKED = new Set(["int32", "int64", "uint32", "uint64", "bool", "double"]);

function one(writer: BinaryWriter, field: Field, depth: number): void {
  const values = known.enums.get(field.type.slice(1));
  if (values !== undefined) {
    writer.tag(field.number, WireType.Varint).int32(Math.max(...values.values()));
  } else if (field.type.startsWith(".")) {
    const nested = depth === 0 ? new Uint8Array() : sample(field.type.slice(1), depth - 1);
    writer.tag(field.number, WireType.LengthDelimited).bytes(nested);
  } else {
    const wire = field.type === "double"
      ? WireType.Bit64
      : PACKED.has(field.type)
      ? WireType.Varint
      : WireType.LengthDelimited;
    scalar(writer.tag(field.number, wire), field.type);
  }
}

function scalar(writer: BinaryWriter, type: string): void {
  switch (type) {
    case "string":
      return void writer.string("é-1");
    case "bytes":
      return void writer.bytes(new Uint8Array([0, 255]));
    case "bool":
      return void writer.uint32(1);
    case "int32":
      return void writer.int32(-2);
    case "uint32":
      return void writer.uint32(0xffff_ffff);
    case "int64":
      return void writer.int64(-(2n ** 63n));
    case "uint64":
      return void writer.uint64(2n ** 64n - 1n);
    case "double":
      return void writer.double(0.25);
    default:
      throw new Error(`scalar ${type}`);
  }
}

interface Codec {
  decode(bytes: Uint8Array): unknown;
  encode(message: never): { finish(): Uint8Array };
}

const generated = api as unknown as Readonly<Record<string, unknown>>;

/** `runtime.v1.A.B` is generated as `A_B`. */
function generatedName(name: string): string {
  return name.replace("runtime.v1.", "").replaceAll(".", "_");
}

Deno.test("facts() of our definition are those of the published one", async (t) => {
  const output = await Deno.makeTempFile();
  try {
    const protoc = new Deno.Command("protoc", {
      args: [`-I${root}proto`, `--descriptor_set_out=${output}`, "api.proto"],
    });
    const result = await protoc.output().catch((error) => {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    });
    await t.step({
      name: "descriptors",
      ignore: result === undefined,
      fn: async () => {
        equal(result?.code, 0, new TextDecoder().decode(result?.stderr));
        equal(facts(await Deno.readFile(output)), published);
      },
    });
  } finally {
    await Deno.remove(output);
  }
});

Deno.test("the published definition has 41 RPCs and our services have the same", () => {
  const ours = new Map<string, string[]>();
  for (const service of [api.RuntimeServiceDefinition, api.ImageServiceDefinition]) {
    const names = new Map(Object.entries(generated).map(([name, value]) => [value, name]));
    const type = (value: unknown): string => `.runtime.v1.${names.get(value)}`;
    ours.set(
      service.fullName,
      Object.values(service.methods).map((method) =>
        `${method.name} ${type(method.requestType)} -> ${method.responseStream ? "stream " : ""}${
          type(method.responseType)
        }`
      ).sort(),
    );
  }
  deepEqual(ours, new Map(known.services));
  equal([...known.services.values()].flat().length, 41);
});

Deno.test("the generated enums have the published values", () => {
  for (const [name, values] of known.enums) {
    deepEqual(generated[generatedName(name)], Object.fromEntries(values), name);
  }
});

Deno.test("the generated codec reads and writes every field of every published message", () => {
  assert(known.messages.size > 150);
  for (const name of known.messages.keys()) {
    const codec = generated[generatedName(name)] as Codec | undefined;
    assert(codec !== undefined, `${name} is not generated`);
    const bytes = sample(name, 3);
    equal(codec.encode(codec.decode(bytes) as never).finish().toHex(), bytes.toHex(), name);
  }
});

Deno.test("the generated codec skips what it does not know", () => {
  const bytes = new BinaryWriter().tag(1, WireType.LengthDelimited).string("x").tag(99, WireType.Varint).uint32(7)
    .tag(98, WireType.Bit64).fixed64(1n).tag(97, WireType.LengthDelimited).string("new").finish();
  deepEqual(api.VersionRequest.decode(bytes), { version: "x" });
});

Deno.test("a label named __proto__ survives the codec", () => {
  const config = { ...api.PodSandboxConfig.decode(new Uint8Array()), labels: new Map([["__proto__", "x"]]) };
  const decoded = api.PodSandboxConfig.decode(api.PodSandboxConfig.encode(config).finish());
  deepEqual([...decoded.labels], [["__proto__", "x"]]);
});
