import { deepEqual, equal, ok as assert } from "node:assert/strict";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { facts } from "../../proto/facts.ts";
import * as api from "../../src/cri/gen/api.ts";
import * as nri from "../../src/nri/gen/nri.ts";

/*
 * proto/*facts.txt is what the published definitions say, written by `scripts/proto --facts` from the Go modules. Ours
 * are compared with it twice: their descriptors, where protoc is installed, and the generated codecs, always.
 */

const root = new URL("../../", import.meta.url).pathname;

interface Definition {
  readonly name: string;
  readonly file: string;
  readonly package: string;
  readonly facts: string;
  readonly known: Published;
  readonly generated: Readonly<Record<string, unknown>>;
  /** As generated. */
  readonly services: readonly ServiceData[];
}

interface ServiceData {
  readonly fullName: string;
  readonly methods: Readonly<
    Record<
      string,
      {
        readonly name: string;
        readonly requestType: unknown;
        readonly responseType: unknown;
        readonly responseStream: boolean;
      }
    >
  >;
}

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

function define(
  { name, file, factsFile, ...rest }:
    & Pick<Definition, "name" | "file" | "package" | "services">
    & { readonly factsFile: string; readonly generated: object },
): Definition {
  const facts = Deno.readTextFileSync(`${root}proto/${factsFile}`);
  const generated = rest.generated as Readonly<Record<string, unknown>>;
  return { ...rest, name, file, facts, known: parse(facts), generated };
}

const cri = define({
  name: "CRI",
  file: "api.proto",
  factsFile: "facts.txt",
  package: "runtime.v1.",
  generated: api,
  services: [api.RuntimeServiceDefinition, api.ImageServiceDefinition],
});

const definitions = [
  cri,
  define({
    name: "NRI",
    file: "nri.proto",
    factsFile: "nri_facts.txt",
    package: "nri.pkg.api.v1alpha1.",
    generated: nri,
    services: [nri.RuntimeDefinition, nri.PluginDefinition, nri.HostFunctionsDefinition],
  }),
];

/** A message with every field set, twice where it repeats, as any other implementation would encode it. */
function sample(known: Published, message: string, depth: number): Uint8Array {
  const writer = new BinaryWriter();
  for (const field of known.messages.get(message) ?? []) {
    const isMap = known.maps.has(field.type);
    const times = field.repeated && !isMap ? 2 : 1;
    const values = known.enums.get(field.type.slice(1));
    if (field.repeated && (PACKED.has(field.type) || values !== undefined)) {
      const packed = new BinaryWriter();
      for (let i = 0; i < times; i++) {
        if (values === undefined) scalar(packed, field.type);
        else packed.int32(Math.max(...values.values()));
      }
      writer.tag(field.number, WireType.LengthDelimited).bytes(packed.finish());
      continue;
    }
    for (let i = 0; i < times; i++) one(writer, field, { known, depth });
  }
  return writer.finish();
}

const PACKED = new Set(["int32", "int64", "uint32", "uint64", "bool", "double"]);

function one(writer: BinaryWriter, field: Field, { known, depth }: { known: Published; depth: number }): void {
  const values = known.enums.get(field.type.slice(1));
  if (values !== undefined) {
    writer.tag(field.number, WireType.Varint).int32(Math.max(...values.values()));
  } else if (field.type.startsWith(".")) {
    // An entry of a map has its value in any case: without one it is dropped.
    const isMap = known.maps.has(field.type);
    const nested = depth === 0 && !isMap
      ? new Uint8Array()
      : sample(known, field.type.slice(1), isMap ? depth : depth - 1);
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

/** `runtime.v1.A.B` is generated as `A_B`. */
function generatedName(definition: Definition, name: string): string {
  return name.replace(definition.package, "").replaceAll(".", "_");
}

for (const definition of definitions) {
  const { known, generated } = definition;

  Deno.test(`facts() of our ${definition.name} definition are those of the published one`, async (t) => {
    const output = await Deno.makeTempFile();
    try {
      const protoc = new Deno.Command("protoc", {
        args: [`-I${root}proto`, `--descriptor_set_out=${output}`, definition.file],
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
          equal(facts(await Deno.readFile(output)), definition.facts);
        },
      });
    } finally {
      await Deno.remove(output);
    }
  });

  Deno.test(`the generated ${definition.name} services are the published ones`, () => {
    const names = new Map(Object.entries(generated).map(([name, value]) => [value, name]));
    const type = (value: unknown): string => `.${definition.package}${names.get(value)}`;
    const ours = new Map(definition.services.map((service) => [
      service.fullName,
      Object.values(service.methods).map((method) =>
        `${method.name} ${type(method.requestType)} -> ${method.responseStream ? "stream " : ""}${
          type(method.responseType)
        }`
      ).sort(),
    ]));
    deepEqual(ours, new Map(known.services));
  });

  Deno.test(`the generated ${definition.name} enums have the published values`, () => {
    for (const [name, values] of known.enums) {
      deepEqual(generated[generatedName(definition, name)], Object.fromEntries(values), name);
    }
  });

  Deno.test(`the generated ${definition.name} codec reads and writes every field of every published message`, () => {
    for (const name of known.messages.keys()) {
      const codec = generated[generatedName(definition, name)] as Codec | undefined;
      assert(codec !== undefined, `${name} is not generated`);
      const bytes = sample(known, name, 3);
      equal(codec.encode(codec.decode(bytes) as never).finish().toHex(), bytes.toHex(), name);
    }
  });
}

Deno.test("the published CRI has 41 RPCs and more than 150 messages", () => {
  equal([...cri.known.services.values()].flat().length, 41);
  assert(cri.known.messages.size > 150);
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
