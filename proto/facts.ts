/**
 * What a descriptor set says about the wire, as text that can be compared: one line per field, enum value and method.
 *
 *     deno run --allow-read proto/facts.ts FILE.pb
 *
 * @module
 */
import { fromBinary } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorSetSchema,
  type ServiceDescriptorProto,
} from "@bufbuild/protobuf/wkt";

/** The facts of all files in a serialized `FileDescriptorSet`: sorted by name, fields by number. */
export function facts(descriptorSet: Uint8Array): string {
  const blocks: string[] = [];
  for (const file of fromBinary(FileDescriptorSetSchema, descriptorSet).file) {
    const prefix = `${file.package}.`;
    for (const service of file.service) blocks.push(serviceFacts(prefix, service));
    for (const message of file.messageType) blocks.push(...messageFacts(prefix, message));
    for (const values of file.enumType) blocks.push(enumFacts(prefix, values));
  }
  return `${blocks.sort().join("\n")}\n`;
}

function serviceFacts(prefix: string, service: ServiceDescriptorProto): string {
  const methods = service.method.map((method) =>
    `  ${method.name} ${method.clientStreaming ? "stream " : ""}${method.inputType} -> ` +
    `${method.serverStreaming ? "stream " : ""}${method.outputType}`
  );
  return [`service ${prefix}${service.name}`, ...methods.sort()].join("\n");
}

function messageFacts(prefix: string, message: DescriptorProto): string[] {
  const name = `${prefix}${message.name}`;
  const fields = message.field.toSorted((a, b) => a.number - b.number).map(fieldFacts);
  return [
    [`message ${name}${message.options?.mapEntry === true ? " (map)" : ""}`, ...fields].join("\n"),
    ...message.nestedType.flatMap((nested) => messageFacts(`${name}.`, nested)),
    ...message.enumType.map((nested) => enumFacts(`${name}.`, nested)),
  ];
}

function fieldFacts(field: FieldDescriptorProto): string {
  const label = field.label === FieldDescriptorProto_Label.REPEATED ? "repeated " : "";
  const type = field.typeName === "" ? FieldDescriptorProto_Type[field.type].toLowerCase() : field.typeName;
  const oneof = field.proto3Optional ? " optional" : "";
  return `  ${field.number} ${field.name} ${label}${type}${oneof}`;
}

function enumFacts(prefix: string, values: EnumDescriptorProto): string {
  const lines = values.value.toSorted((a, b) => a.number - b.number).map((value) => `  ${value.number} ${value.name}`);
  return [`enum ${prefix}${values.name}`, ...lines].join("\n");
}

if (import.meta.main) {
  const [path = ""] = Deno.args;
  await Deno.stdout.write(new TextEncoder().encode(facts(await Deno.readFile(path))));
}
