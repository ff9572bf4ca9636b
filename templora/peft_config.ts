/**
 * peft's adapter_config.json: which linear layers have a LoRA, of which rank and scale. As with a model's configuration, no key is
 * ignored that changes what is computed: it is carried out as peft carries it out, or refused by its name. The keys are those
 * of LoraConfig in peft 0.21; docs/adapters.md lists them.
 */
import { createContext, runInContext } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import type { Steps } from "../engine/turns.ts";
import { type FieldName, Keys, type Unread } from "../model/keys.ts";
import { type LinearName, linearNames, linearTensors } from "../model/layers.ts";
import { asBoolean, asInteger, asObject, asPositive, asString, asStrings, show } from "../model/untrusted.ts";
import { recipeFields } from "./config.ts";
import type { LoraConfig, LoraLayout } from "./stored_adapter.ts";

const named = (key: string): FieldName => [key, null];
const refusedUnless = (key: string, ...nothing: readonly unknown[]): Unread => ({
  name: named(key),
  nothing,
});
const harmless = (key: string): Unread => ({ name: named(key), nothing: "any" });

/** Keys that templora does not read. Null and an empty list ask for nothing. */
export const peftUnread: readonly Unread[] = [
  // another computation
  refusedUnless("use_dora", false),
  refusedUnless("bias", "none"),
  refusedUnless("lora_bias", false),
  refusedUnless("fan_in_fan_out", false),
  refusedUnless("use_qalora", false),
  refusedUnless("use_bdlora"),
  refusedUnless("alora_invocation_tokens"),
  refusedUnless("arrow_config"),
  refusedUnless("kasa_config"),
  refusedUnless("monteclora_config"),
  // another base model: these change its weights, also when an adapter is loaded
  refusedUnless("init_lora_weights", true, false, "gaussian", "orthogonal", "eva"),
  refusedUnless("layer_replication"),
  refusedUnless("megatron_config"),
  // other layers, or more than linear layers
  refusedUnless("exclude_modules", ""),
  refusedUnless("layers_to_transform"),
  refusedUnless("layers_pattern", ""),
  refusedUnless("modules_to_save"),
  refusedUnless("target_parameters"),
  refusedUnless("trainable_token_indices"),
  // of training, of first values, or of how others compute the same
  ...[
    ...["lora_dropout", "inference_mode", "runtime_config", "velora_config", "ensure_weight_tying"],
    ...["loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size", "megatron_core"],
    ...["auto_mapping", "base_model_name_or_path", "peft_version", "revision", "task_type"],
  ].map(harmless),
];

/** What `file`'s JSON says, without what nothing depends on. */
export function parsePeftConfig(json: unknown, file: string): LoraConfig {
  const object = asObject(json, file);
  const keys = new Keys({
    ...{ nameOf: ([key]) => key, lookUp: (key) => object[key], present: () => Object.keys(object) },
    ...{ spell: (key) => `${file}: ${key}`, concerns: () => true },
  });
  const type = keys.get(named("peft_type"), undefined, asString);
  if (type !== "LORA") throw new BadInputError(`${file}: peft_type is ${show(type)}; templora reads LORA`);
  const config = {
    r: keys.get(named("r"), undefined, asRank),
    lora_alpha: keys.get(named("lora_alpha"), undefined, asAlpha),
    use_rslora: keys.get(named("use_rslora"), false, asBoolean),
    target_modules: keys.get(named("target_modules"), undefined, asTargets),
    rank_pattern: keys.get(named("rank_pattern"), {}, patternsOf(asRank)),
    alpha_pattern: keys.get(named("alpha_pattern"), {}, patternsOf(asAlpha)),
  };
  keys.refuseRest("templora", peftUnread);
  return config;
}

/** What is read, for docs/adapters.md. */
export const peftRead = [
  ...["peft_type", "r", "lora_alpha", "use_rslora", "target_modules", "rank_pattern", "alpha_pattern"],
] as const;

const limitsOf = (key: "rank" | "alpha"): { readonly max?: number } => {
  const field = recipeFields[key];
  return field.kind === "number" ? field.limits : {};
};

function asRank(value: unknown, where: string): number {
  return asInteger(value, where, 1, limitsOf("rank").max ?? Infinity);
}

function asAlpha(value: unknown, where: string): number {
  const alpha = asPositive(value, where);
  const { max = Infinity } = limitsOf("alpha");
  if (alpha > max) throw new BadInputError(`${where}: expected a number up to ${max}, got ${show(value)}`);
  return alpha;
}

function asTargets(value: unknown, where: string): string | readonly string[] {
  return typeof value === "string" ? value : asStrings(value, where);
}

const patternsOf =
  (as: (value: unknown, where: string) => number) =>
  (value: unknown, where: string): Readonly<Record<string, number>> =>
    Object.fromEntries(
      Object.entries(asObject(value, where)).map(([key, one]) => [key, as(one, `${where}: ${show(key)}`)]),
    );

/** The name of a linear layer's module in transformers' models, which peft matches patterns with. */
export function moduleOf(layer: number, name: LinearName): string {
  return `model.layers.${layer}.${linearTensors[name][0]}`;
}

/** What peft could adapt, too. */
const OTHERS = ["lm_head", "model.embed_tokens"];

/** Which layers of a model of `layers` blocks have a LoRA, and of which rank and scale. */
export function* layoutOf(config: LoraConfig, layers: number, file: string): Steps<LoraLayout> {
  const { r, lora_alpha, use_rslora, target_modules, rank_pattern, alpha_pattern } = config;
  const places = Array.from({ length: layers }, (_, layer) =>
    linearNames.map((name) => ({ name, module: moduleOf(layer, name) })),
  );
  const modules = places.flat().map(({ module }) => module);
  const targets = yield* targeted(target_modules, [...modules, ...OTHERS], `${file}: target_modules`);
  const other = OTHERS.find((module) => targets.has(module));
  if (other !== undefined)
    throw new BadInputError(
      `${file}: target_modules has ${other}; templora adapts the linear layers of a model's blocks`,
    );
  if (targets.size === 0)
    throw new BadInputError(
      `${file}: target_modules ${show(target_modules)} names no linear layer of this model`,
    );
  const rankOf = yield* patterned(rank_pattern, r, modules, `${file}: rank_pattern`);
  const alphaOf = yield* patterned(alpha_pattern, lora_alpha, modules, `${file}: alpha_pattern`);
  return places.map(
    (block) =>
      new Map(
        block
          .filter(({ module }) => targets.has(module))
          .map(({ name, module }) => {
            const rank = rankOf(module);
            return [name, { rank, scale: alphaOf(module) / (use_rslora ? Math.sqrt(rank) : rank) }];
          }),
      ),
  );
}

/** peft's check_target_module_exists: a list has whole names or what stands at their ends, a text is a regular expression. */
function* targeted(
  targets: string | readonly string[],
  modules: readonly string[],
  where: string,
): Steps<ReadonlySet<string>> {
  if (typeof targets !== "string")
    return new Set(
      modules.filter((module) =>
        targets.some((target) => module === target || module.endsWith(`.${target}`)),
      ),
    );
  if (targets.toLowerCase() === "all-linear")
    return new Set(modules.filter((module) => !OTHERS.includes(module)));
  return yield* new Matcher(modules).matched(targets, targets, where);
}

/** peft's get_pattern_key: the first pattern that matches a module's name, or what follows a dot in it, gives its value. */
function* patterned(
  patterns: Readonly<Record<string, number>>,
  otherwise: number,
  modules: readonly string[],
  where: string,
): Steps<(module: string) => number> {
  const found = new Map<string, number>();
  const matcher = new Matcher(modules);
  for (const [pattern, value] of Object.entries(patterns))
    for (const module of yield* matcher.matched(pattern, `(.*\\.)?(${pattern})$`, where))
      if (!found.has(module)) found.set(module, value);
  return (module) => found.get(module) ?? otherwise;
}

/** For one pattern and all modules, which takes far less unless the pattern is hostile: nothing else happens meanwhile. */
const MATCHING_MS = 40;

/**
 * Which of `modules` a pattern matches. Patterns are Python's: what its syntax has in common with JavaScript's (with the u flag) means
 * the same for such names, except for references to groups and a set that begins with ].
 */
class Matcher {
  readonly #context: { regex: RegExp | null };

  constructor(modules: readonly string[]) {
    this.#context = createContext({ regex: null, modules }) as { regex: RegExp | null };
  }

  /** Those that `whole`, made of the `pattern` of a file, matches from end to end. */
  *matched(pattern: string, whole: string, where: string): Steps<ReadonlySet<string>> {
    this.#context.regex = regexOf(pattern, whole, where);
    // twice at most, since a busy machine may have been at something else
    for (let tried = 0; tried < 2; tried++) {
      yield;
      const matched = this.#inTime();
      if (matched) return matched;
    }
    throw new BadInputError(
      `${where} ${show(pattern)}: to match the model's modules with it takes longer than ${MATCHING_MS} ms`,
    );
  }

  /** Null where it takes longer than MATCHING_MS. */
  #inTime(): ReadonlySet<string> | null {
    try {
      const script = "modules.filter((module) => regex.test(module))";
      return new Set(runInContext(script, this.#context, { timeout: MATCHING_MS }) as string[]);
    } catch {
      return null;
    }
  }
}

function regexOf(pattern: string, whole: string, where: string): RegExp {
  try {
    if (/\\[1-9]/.test(pattern)) throw new SyntaxError("a reference");
    if (/\[\^?\]/.test(pattern)) throw new SyntaxError("an empty set, where Python begins one with ]");
    new RegExp(pattern, "u"); // it must be whole by itself
    return new RegExp(`^(?:${whole})$`, "u");
  } catch {
    throw new BadInputError(
      `${where}: templora does not match ${show(pattern)}: it refers to a group, has a set that begins with ], is not of JavaScript's syntax, or is no regular expression`,
    );
  }
}
