-- What bench/run tells of results: ratios with their spread, goals, and the rows for bench/README.md.

package.path = "bench/support/?.lua;" .. package.path

local figures = require "figures"
local tables = require "tables"

local BENCH = {
  figures = {
    { name = "took", title = "start", unit = "s", against = { "dinit", "tini" } },
    { name = "share", title = "heard ÷ written", unit = "" },
  },
}

local function results()
  return {
    took = { luapilot = { 0.003, 0.002, 0.004 }, tini = { 0.001, 0.002, 0.001 } },
    share = { luapilot = { 1, 0.9, 1 } },
  }
end

describe("figures", function()
  it("give least and most in the unit of the median", function()
    assert.equal("1.50 ms (0.500–1200)", figures.spread({ 0.0005, 1.2, 0.0015 }, "s"))
  end)

  it("compare round by round, and leave out a round that only one has", function()
    assert.same({ 3, 1, 4 }, { figures.ratio({ 0.003, 0.002, 0.004 }, { 0.001, 0.002, 0.001 }) })
    assert.same({ 3, 3, 3 }, { figures.ratio({ 3, 9 }, { 1 }) })
    assert.is_nil(figures.ratio({ 3 }, {}))
  end)
end)

describe("a table of results", function()
  it("says the spread of each ratio, and nothing of whom it has not seen", function()
    assert.equal(table.concat({
      "| start | median (least–most) | ÷ tini |", "|---|---|---|",
      "| tini | 1.00 ms (1.00–2.00) | 1.00 (1.00–1.00) |",
      "| luapilot | 3.00 ms (2.00–4.00) | 3.00 (1.00–4.00) |",
    }, "\n"), tables.of_figure(BENCH.figures[1], { "tini", "luapilot" }, results()))
    assert.is_nil(tables.of_figure({ name = "else" }, { "tini" }, results()))
  end)
end)

describe("an older build", function()
  local variants, results_of = { "bare", "luapilot", "luapilot, before" }, {
    took = { bare = { 1, 1 }, luapilot = { 2, 4 }, ["luapilot, before"] = { 4, 5 } },
  }

  it("has a column of ratios", function()
    assert.equal(table.concat({
      "| start | median (least–most) | ÷ before |", "|---|---|---|",
      "| bare | 1.00 s (1.00–1.00) |  |",
      "| luapilot | 3.00 s (2.00–4.00) | 0.650 (0.500–0.800) |",
      "| luapilot, before | 4.50 s (4.00–5.00) |  |",
    }, "\n"), tables.of_figure(BENCH.figures[1], variants, results_of))
  end)

  it("is in the row of the new one", function()
    local bench = { title = "start", figures = { BENCH.figures[1] } }
    assert.same({
      "| `start`: start | 3.00 s (2.00–4.00) | bare 1.00 s (1.00–1.00) | 0.650 (0.500–0.800) × before |  |  |",
    }, tables.rows("start", bench, variants, results_of))
  end)
end)

describe("a goal", function()
  local function judge(goal, quoted)
    goal.variant, goal.figure = goal.variant or "luapilot", goal.figure or "took"
    return tables.judge(goal, { figures = BENCH.figures, quoted = quoted }, results())
  end

  it("is a ratio to who ran beside it", function()
    assert.same({ limit = "≤ 3.00 × tini", found = "3.00 (1.00–4.00) × tini", reached = true },
      judge { against = "tini", at_most = 3 })
    assert.is_false(judge { against = "tini", at_most = 2.9 }.reached)
  end)

  it("is a value", function()
    assert.same({ limit = "≥ 1.00", found = "1.00 (0.900–1.00)", reached = true },
      judge { figure = "share", at_least = 1 })
  end)

  it("against somebody who is not here says what another run has of him, and is not judged", function()
    local quoted = { took = { variant = "dinit", against = "tini", ratio = 2 } }
    assert.same({ limit = "≤ 1.00 × dinit", found = "1.50 (0.500–2.00) × dinit as another run has it" },
      judge({ against = "dinit", at_most = 1 }, quoted))
    quoted.took = { variant = "dinit", value = 0.003 }
    assert.same({ limit = "≤ 1.00 × dinit", found = "1.00 (0.667–1.33) × dinit as another run has it" },
      judge({ against = "dinit", at_most = 1 }, quoted))
  end)

  it("against somebody of whom nothing is known says nothing", function()
    assert.same({ limit = "≤ 1.00 × dinit" }, judge { against = "dinit", at_most = 1 })
    assert.is_nil(judge { variant = "else", at_most = 1 })
  end)
end)

describe("rows for bench/README.md", function()
  it("are one for each figure of luapilot, with the others, the ratios and the goal", function()
    local bench = {
      title = "exec → first job", figures = { BENCH.figures[1] },
      quoted = { took = { variant = "dinit", against = "tini", ratio = 2.5 } },
      goals = { { variant = "luapilot", figure = "took", against = "tini", at_most = 2 } },
    }
    assert.same({
      "| `start`: exec → first job | 3.00 ms (2.00–4.00) | "
        .. "tini 1.00 ms (1.00–2.00), in another run dinit 2.50 × tini | "
        .. "3.00 (1.00–4.00) × tini | ≤ 2.00 × tini | ✗ |",
    }, tables.rows("start", bench, { "tini", "luapilot" }, results()))
  end)

  it("name those of the same size beside each other", function()
    local series = { ["luapilot, 5"] = { 1 }, ["luapilot, 9"] = { 1 }, ["bare, 5"] = { 1 }, ["bare, 9"] = { 2 } }
    local rows = tables.rows("scale", { title = "N", figures = { { name = "n", title = "n", unit = "" } } },
      { "bare, 5", "bare, 9", "luapilot, 5", "luapilot, 9" }, { n = series })
    assert.equal("| `scale`: N, luapilot, 5 | 1.00 (1.00–1.00) | bare, 5 1.00 (1.00–1.00) |  |  |  |", rows[1])
    assert.equal("| `scale`: N, luapilot, 9 | 1.00 (1.00–1.00) | bare, 9 2.00 (2.00–2.00) |  |  |  |", rows[2])
    assert.is_nil(rows[3])
  end)

  it("are of the newest run", function()
    local results_of, variants, rounds, run = tables.newest([[
{"run":7,"variant":"luapilot","round":1,"measured":{"took":9}}
{"run":8,"variant":"tini","round":1,"measured":{"took":1}}
{"run":8,"variant":"luapilot","round":1,"measured":{"took":2}}
{"run":8,"variant":"luapilot","round":2,"measured":{"took":3}}
]])
    assert.same({ took = { tini = { 1 }, luapilot = { 2, 3 } } }, results_of)
    assert.same({ { "tini", "luapilot" }, 2, 8 }, { variants, rounds, run })
    assert.is_nil((tables.newest ""))
  end)
end)
