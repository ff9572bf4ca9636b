/** A recipe's keys: the library checks them and names the key, the command line checks the same and names the flag. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BadInputError } from "../engine/errors.ts";
import { type Recipe, checkRecipe, recipeFields, recipes, withChanges } from "../templora/config.ts";
import { type Limits, inWords, within } from "../templora/limits.ts";
import { templora } from "./support/cli.ts";

const test = suite("recipe");

function refusal(changes: object): string {
  try {
    withChanges(recipes.paper, changes);
  } catch (error) {
    assert.instance(error, BadInputError);
    return (error as Error).message;
  }
  return "accepted";
}

test("every key is described, and the paper's recipe is one", () => {
  assert.equal(Object.keys(recipeFields).sort(), Object.keys(recipes.paper).sort());
  assert.is(checkRecipe(recipes.paper), recipes.paper);
  for (const [key, { unit, meaning }] of Object.entries(recipeFields)) assert.ok(unit && meaning, key);
});

test("the library names the key whose value is outside its limits", () => {
  for (const [changes, says] of [
    [{ lr: -1 }, "lr: expected a number, at least 0 and at most 1000, not -1"],
    [{ lr: NaN }, "lr: expected a number, at least 0 and at most 1000, not NaN"],
    [{ rank: 1.5 }, "rank: expected a whole number, at least 1 and at most 4096, not 1.5"],
    [{ dropout: 1 }, "dropout: expected a number, at least 0 and below 1, not 1"],
    [{ alpha: "64" }, 'alpha: expected a number, above 0 and at most 1000000, not "64"'],
    [{ beta2: 1 }, "beta2: expected a number, at least 0 and below 1, not 1"],
    [{ context_grad: "off" }, 'context_grad: expected true or false, not "off"'],
    [{ epochs: 2 ** 40 }, "epochs: expected a whole number, at least 0 and at most 10000, not 1099511627776"],
    [{ adapt: "all" }, 'adapt: expected lora, full, norms, not "all"'],
    [
      { adapt: "norms", optimizer: "muon" },
      "optimizer muon: its steps are matrices, and adapt norms learns vectors; take another",
    ],
    [{ init: "pissa" }, 'init: expected peft, weight, input, not "pissa"'],
    [{ ema: 1 }, "ema: expected a number, at least 0 and below 1, not 1"],
    [{ replay: 0.5 }, "replay: expected a whole number, at least 0, not 0.5"],
    [
      { ema: 0.5, guard: 1 },
      "ema: a guard judges updates by the chunk that is scored after them, which an average hardly shows; take one of them",
    ],
    [{ rnak: 4 }, "rnak: no such key of a recipe"],
  ] as const) {
    assert.is(refusal(changes), says);
  }
  assert.match(
    refusal({ targets: ["q_proj", "vproj"] }),
    /^targets: expected some of q_proj, .*, not \["q_proj","vproj"\]$/,
  );
  assert.match(refusal({ targets: [] }), /^targets: expected some of/);
});

test("a bound is part of a number's range or not, and is named in words", () => {
  const most = 2 ** 31 - 1;
  for (const [limits, words, inside, outside] of [
    [{ min: 1, max: 3 }, "a number, at least 1 and at most 3", [1, 1.5, 3], [0.9, 3.1, NaN]],
    [{ above: 1, below: 3 }, "a number, above 1 and below 3", [1.1, 2.9], [1, 3]],
    [{ integer: true, min: 0 }, "a whole number, at least 0", [0, most], [-1, 0.5, NaN]],
    [{ integer: true }, "a whole number", [-5, most], [0.5, -Infinity]],
    [{}, "a number", [-1e300, 2 ** 40], [Infinity, -Infinity]],
  ] as [Limits, string, number[], number[]][]) {
    for (const value of [...inside, ...outside]) {
      assert.is(within(value, limits), inside.includes(value), `${words}: ${value}`);
      assert.is(inWords(limits, value), words);
    }
  }
  assert.not(within(most + 1, { integer: true, min: 0 }));
  assert.is(inWords({ integer: true, min: 0 }, most + 1), `a whole number, at least 0 and at most ${most}`);
  assert.is(inWords({}, most + 1), "a number");
});

test("another scaling without an alpha has its usual one", () => {
  const alpha = (base: "paper" | "tuned", changes: Partial<Recipe>): number =>
    withChanges(recipes[base], changes).alpha;
  assert.is(alpha("tuned", { scaling: "lora" }), 64);
  assert.is(alpha("paper", { scaling: "weight" }), 12.8);
  assert.is(alpha("paper", { scaling: "rslora", rank: 16 }), 4);
  assert.is(alpha("tuned", { scaling: "weight", rank: 10 }), 2);
  assert.is(alpha("tuned", { scaling: "lora", alpha: 3 }), 3);
  assert.throws(
    () => alpha("tuned", { scaling: "large" as "lora" }),
    /scaling: expected lora, rslora, weight/,
  );
});

test("a rank without an alpha keeps the scale", () => {
  const scale = ({ alpha, rank }: Recipe): number => alpha / rank;
  assert.is(scale(withChanges(recipes.paper, { rank: 8 })), 1);
  assert.is(scale(withChanges(recipes.paper, { rank: 8, alpha: 16 })), 2);
  assert.is(withChanges(recipes.paper, { alpha: 16 }).rank, recipes.paper.rank);
});

test("flags of all commands follow from the same declarations", async () => {
  for (const command of ["ppl", "generate", "bench"]) {
    const { code, stderr } = await templora([command, ...(command === "ppl" ? ["x"] : []), "--rank", "5000"]);
    assert.is(code, 2);
    assert.is(stderr, "templora: --rank 5000: expected a whole number, at least 1 and at most 4096\n");
  }
});

test.run();
