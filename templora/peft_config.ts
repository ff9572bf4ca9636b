/**
 * peft's adapter_config.json: which linear layers have a LoRA, of which rank and scale. As with a model's configuration, no key is
 * ignored that changes what is computed: it is carried out as peft carries it out, or refused by its name. The keys are those
 * of LoraConfig in peft 0.21; docs/adapters.md lists them.
 */
import { createContext, runInContext } from "../engine/backends/host/files.ts";
import { BadInputError } from "../engine/errors.ts";
import type { Steps } from "../engine/turns.ts";
import { asSize } from "../model/config.ts";
import { type FieldName, Keys, type Unread } from "../model/keys.ts";
import { asBoolean, asInteger, asObject, asPositive, asString, asStrings, show } from "../model/untrusted.ts";
import { recipeFields } from "./config.ts";
import type { LinearModule, Modules } from "./modules.ts";
import type { LoraConfig, LoraShape } from "./stored_adapter.ts";

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
    // not limited as a recipe's: a module has the ranks of all its layers
    rank_pattern: keys.get(named("rank_pattern"), {}, patternsOf(asSize)),
    alpha_pattern: keys.get(named("alpha_pattern"), {}, patternsOf(asPositive)),
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

/** The LoRAs of each block of a model, by their modules. */
export type ModuleLayout = readonly ReadonlyMap<LinearModule, LoraShape>[];

/** What peft could adapt, too. */
const OTHERS = ["lm_head", "model.embed_tokens"];

/** Which modules of a model have a LoRA, and of which rank and scale. */
export function* layoutOf(config: LoraConfig, blocks: Modules, file: string): Steps<ModuleLayout> {
  const { r, lora_alpha, use_rslora, target_modules, rank_pattern, alpha_pattern } = config;
  const modules = blocks.flat().map(({ name }) => name);
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
  return blocks.map((block) => {
    const adapted = block.filter(({ name }) => targets.has(name));
    return new Map(
      adapted.map((module) => {
        const rank = rankOf(module.name);
        return [module, { rank, scale: alphaOf(module.name) / divisor(rank, use_rslora) }];
      }),
    );
  });
}

/** Of alpha, for the scale. */
const divisor = (rank: number, use_rslora: boolean): number => (use_rslora ? Math.sqrt(rank) : rank);

/**
 * The configuration that says of modules what `layout` has. That is `config`, unless a module holds several layers, of which the file
 * knows nothing, or a scale is that of a weight, which only patterns can say: then what differs from r and lora_alpha has patterns.
 */
export function configFor(layout: ModuleLayout, config: LoraConfig): LoraConfig {
  const modules = layout.flatMap((block) => [...block]);
  const { r, lora_alpha, use_rslora } = config;
  const said =
    Object.keys({ ...config.rank_pattern, ...config.alpha_pattern }).length > 0 ||
    modules.every(([, { scale }]) => scale === lora_alpha / divisor(r, use_rslora));
  if (said && modules.every(([{ layers }]) => layers.length === 1)) return config;
  const targets = new Set<string>();
  const rank_pattern: Record<string, number> = {};
  const alpha_pattern: Record<string, number> = {};
  for (const [{ name }, { rank, scale }] of modules) {
    const end = name.slice(name.lastIndexOf(".") + 1);
    const alike = modules.filter(
      ([other, lora]) => other.name.endsWith(`.${end}`) && lora.rank === rank && lora.scale === scale,
    );
    const called = alike.length === layout.length ? end : name;
    const alpha = Number((scale * divisor(rank, use_rslora)).toPrecision(15)); // 5, not 5.000000000000001
    targets.add(called);
    if (rank !== r) rank_pattern[called] = rank;
    if (alpha !== lora_alpha) alpha_pattern[called] = alpha;
  }
  return { ...config, target_modules: [...targets], rank_pattern, alpha_pattern };
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
const MOST_TRIES = 10;

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
    // again, since a busy machine may have been at something else
    for (let tried = 0; tried < MOST_TRIES; tried++) {
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
