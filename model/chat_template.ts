/**
 * Renders chat templates, which are Jinja, as transformers does: the same text or an error. @huggingface/jinja interprets them, but
 * differs from Python's Jinja where values are of other kinds than strings (None, True, lists as text, == across kinds), and in
 * some filters and methods. Here its results are watched, node by node, and what would differ is refused; filters, tests and
 * methods are those that test/golden/chat_templates.json holds to be equal.
 */
import * as jinja from "@huggingface/jinja";

/** A node of a parsed template. */
interface Node {
  readonly type: string;
  readonly [part: string]: unknown;
}
interface Value {
  readonly type: string;
  readonly value: unknown;
}
interface Variables {
  set(name: string, value: unknown): unknown;
}
interface Interpreting {
  evaluate(node: Node | undefined, variables: Variables): Value;
  run(program: Node): Value;
}

/** The package's own declarations import each other without file extensions, which TypeScript's NodeNext resolution does not follow. */
const { Environment, Interpreter, Template } = jinja as unknown as {
  readonly Environment: new () => Variables;
  readonly Interpreter: new (variables: Variables) => Interpreting;
  readonly Template: new (template: string) => { readonly parsed: Node };
};

const among = (list: string): ReadonlySet<unknown> => new Set(list.split(" "));
const filters = among(
  "trim length upper lower tojson default join replace first last list map selectattr rejectattr string int items reverse safe",
);
const tests = among(
  "defined undefined none string mapping iterable sequence boolean true false equalto eq odd even",
);
const methods = among("strip lstrip rstrip split startswith endswith replace upper lower get items keys");
const statements = among("Program If For Break Continue Set Macro CallStatement FilterStatement Comment");

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value;
const nameOf = (value: unknown): unknown =>
  isNode(value) ? (value["value"] ?? nameOf(value["callee"])) : undefined;

/** As in Jinja's sandbox, which transformers renders in. */
const MAX_RANGE = 100_000;
/** Far more than a conversation takes: some seconds. */
const MOST_EVALUATIONS = 1_000_000;

function differs(what: string): never {
  throw new Error(`${what}: Python's Jinja gives something else`);
}

/** Characters that Python's strip and JavaScript's trim disagree on, and those of two UTF-16 units. */
const ODD_SPACES = /[\x1c-\x1f\x85\ufeff]/;
const ODD_ENDS = /^\s*[\x1c-\x1f\x85\ufeff]|[\x1c-\x1f\x85\ufeff]\s*$/;
const SURROGATES = /[\ud800-\udfff]/;

class Watched extends Interpreter {
  /** Nodes whose values become text. */
  readonly #printed = new Set<unknown>();
  #evaluations = 0;
  /** What each node was when it was last evaluated. */
  readonly #values = new Map<unknown, Value>();

  /** Checks all that can be seen before anything is evaluated. */
  examine(node: Node): void {
    for (const key of ["body", "defaultBlock", "alternate"])
      if (Array.isArray(node[key]))
        for (const part of node[key] as Node[]) if (!statements.has(part.type)) this.#printed.add(part);
    const { filter, test, callee, operator, property } = node;
    if (filter !== undefined && !filters.has(nameOf(filter))) differs(`the filter ${String(nameOf(filter))}`);
    if (isNode(test) && node.type === "TestExpression" && !tests.has(nameOf(test)))
      differs(`the test ${String(nameOf(test))}`);
    if (isNode(callee) && callee.type === "MemberExpression") {
      const name = nameOf(callee["property"]);
      if (!methods.has(name)) differs(`the method ${String(name)}`);
      if (/strip$/.test(String(name)) && (node["args"] as unknown[]).length > 0)
        differs(`${String(name)} of some characters`);
    }
    if (
      node.type === "MemberExpression" &&
      node["computed"] === false &&
      nameOf(property) === "length" &&
      nameOf(node["object"]) !== "loop"
    )
      differs(".length");
    if (nameOf(operator) === "~") for (const side of ["left", "right"]) this.#printed.add(node[side]);
    if (nameOf(filter) === "string") this.#printed.add(node["operand"]);
    for (const child of Object.values(node).flatMap((part) =>
      part instanceof Map ? [...part].flat() : part,
    ))
      if (isNode(child)) this.examine(child);
  }

  override evaluate(node: Node | undefined, variables: Variables): Value {
    if (++this.#evaluations > MOST_EVALUATIONS) throw new Error("it does not come to an end");
    const value = super.evaluate(node, variables);
    if (node === undefined) return value;
    this.#values.set(node, value);
    if (this.#printed.has(node)) checkText(value);
    this.#check(node, value);
    return value;
  }

  /** Checks an operation by what its operands were. */
  #check(node: Node, value: Value): void {
    const of = (key: string): Value | undefined => this.#values.get(node[key]);
    const operator = nameOf(node["operator"]);
    const [left, right, operand, object] = ["left", "right", "operand", "object"].map(of);
    if ((operator === "==" || operator === "!=") && left && right && !comparable(left, right))
      differs(`${left.type} ${operator} ${right.type}`);
    if ((operator === "in" || operator === "not in") && left && Array.isArray(right?.value))
      for (const item of right.value as Value[])
        if (!comparable(left, item)) differs(`${left.type} in a list with ${item.type}`);
    if (operator === "%" && Number(value.value) < 0) differs("the remainder of a negative number");
    if (node.type === "MemberExpression" && object?.type === "UndefinedValue")
      differs("a part of something undefined");
    if (
      node.type === "TestExpression" &&
      operand?.type === "ObjectValue" &&
      /^(iterable|sequence)$/.test(String(nameOf(node["test"])))
    )
      differs("a mapping that is tested so");
    const filter = nameOf(node["filter"]);
    const callee = isNode(node["callee"]) ? node["callee"] : undefined;
    const called = String(filter ?? nameOf(callee?.["property"]));
    const text = [operand, object, this.#values.get(callee?.["object"])].find(
      (v) => v?.type === "StringValue",
    )?.value;
    if (typeof text === "string") {
      if (/^(trim|[lr]?strip)$/.test(called) && ODD_ENDS.test(text)) differs("white space of this kind");
      if (called === "split" && ODD_SPACES.test(text)) differs("white space of this kind");
      if (
        (/^(length|first|last|list|reverse)$/.test(called) || node["computed"] === true) &&
        SURROGATES.test(text)
      )
        differs("a character beyond U+FFFF that is counted");
    }
    if (filter === "join" && Array.isArray(operand?.value))
      for (const item of operand.value as Value[]) checkText(item);
    if (filter === "tojson" && operand) assertJson(operand);
  }
}

/** Strings and whole numbers are the same as text in both languages. */
function checkText({ type, value }: Value): void {
  if (
    type === "IntegerValue"
      ? !Number.isSafeInteger(value)
      : type !== "StringValue" && type !== "UndefinedValue"
  )
    differs(`a ${type} as text`);
}

/** JavaScript's == and Python's agree on these. */
function comparable(a: Value, b: Value): boolean {
  const scalar = ["StringValue", "IntegerValue", "BooleanValue", "NullValue", "UndefinedValue"];
  const nothing = ["NullValue", "UndefinedValue"];
  return (
    scalar.includes(a.type) &&
    scalar.includes(b.type) &&
    (a.type === b.type || nothing.includes(a.type) !== nothing.includes(b.type))
  );
}

function assertJson({ type, value }: Value): void {
  if (type === "FloatValue" || type === "UndefinedValue") differs(`a ${type} as JSON`);
  if (Array.isArray(value)) for (const item of value as Value[]) assertJson(item);
  if (value instanceof Map) for (const item of value.values()) assertJson(item as Value);
}

/** Python's range. */
function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  if (Math.abs((stop - start) / step) > MAX_RANGE)
    throw new Error(`a range of more than ${MAX_RANGE} numbers`);
  return Array.from({ length: Math.max(0, Math.ceil((stop - start) / step)) }, (_, i) => start + i * step);
}

/** Today, as templates ask for it. */
function today(format: string): string {
  const parts = (options: Intl.DateTimeFormatOptions): string =>
    new Intl.DateTimeFormat("en-US", options).format(new Date());
  const two = (n: number): string => String(n).padStart(2, "0");
  const now = new Date();
  const fields: Readonly<Record<string, string>> = {
    "%d": two(now.getDate()),
    "%m": two(now.getMonth() + 1),
    "%Y": String(now.getFullYear()),
    "%b": parts({ month: "short" }),
    "%B": parts({ month: "long" }),
    "%A": parts({ weekday: "long" }),
    "%H": two(now.getHours()),
    "%M": two(now.getMinutes()),
    "%S": two(now.getSeconds()),
  };
  return format.replaceAll(/%./g, (field) => fields[field] ?? differs(`${field} of a date`));
}

const GLOBALS = {
  ...{ true: true, false: false, none: null, True: true, False: false, None: null },
  ...{ range, strftime_now: today },
  raise_exception: (message: string): never => {
    throw new Error(message);
  },
  // transformers gives these when nobody does
  ...{ tools: null, documents: null },
};

/** The text that `template` makes of `variables`. */
export function renderChat(template: string, variables: Readonly<Record<string, unknown>>): string {
  const { parsed } = new Template(template);
  const environment = new Environment();
  for (const [name, value] of Object.entries({ ...GLOBALS, ...variables })) environment.set(name, value);
  const interpreter = new Watched(environment);
  interpreter.examine(parsed);
  return String(interpreter.run(parsed).value);
}
