-- tables: what `run` tells of results: a table for each figure, a line for each goal, rows of the table in README.md.
--
-- Results are figure → variant → round → value. A ratio is taken round by round, and told as its median with the least
-- and the most. Of somebody who was not measured here is told what another run says of him (`quoted` of a benchmark:
-- figure → { variant, value } or { variant, against, ratio }, where `against` was measured in both), but no goal is
-- judged by that: such a ratio differs by a third between two machines.

local figures = require "figures"
local json = require "cjson"

local tables = {}

---@class bench.Goal
---@field variant string
---@field figure string
---@field against string?     another variant: the limit is a ratio to it. nil: a value
---@field at_most number?
---@field at_least number?

---@class bench.Quote
---@field variant string      who was measured elsewhere
---@field value number?       what was found, in the unit of the figure
---@field against string?     or who was measured beside it,
---@field ratio number?       and how many times his value it was

---@class bench.Judged
---@field limit string        "≤ 2.00 × bare"
---@field found string?       "1.80 (1.60–2.10) × bare"; nil: it cannot be said here
---@field reached boolean?   nil: it is not judged

---@param series table<integer, number>    by round
---@return number[]
local function list_of(series)
  local list = {}
  for _, value in pairs(series) do list[#list + 1] = value end
  return list
end

local function between(median, least, most)
  return ("%s (%s–%s)"):format(figures.digits(median), figures.digits(least), figures.digits(most))
end

---"1.80 (1.60–2.10)"; nil: no round has both.
---@return string?
local function ratio_text(above, below)
  local median, least, most = figures.ratio(above, below or {})
  return median and between(median, least, most)
end

-- An older build of luapilot that took turns with this one.
local BEFORE = ", before"

---@param variant string    of this build
---@return string           the older one's
function tables.before(variant) return variant .. BEFORE end

-- --- a figure --------------------------------------------------------------------------------

---A Markdown table of one figure; nil: nobody has it.
---@param figure { name: string, title: string, unit: string, against: string[]? }
---@param variants string[]     in order
---@return string?
function tables.of_figure(figure, variants, results)
  local series = results[figure.name]
  if not series then return nil end
  local rows, others, older = { { figure.title, "median (least–most)" } }, {}, false
  for _, other in ipairs(figure.against or {}) do
    if series[other] then
      others[#others + 1] = other
      table.insert(rows[1], "÷ " .. other)
    end
  end
  for _, variant in ipairs(variants) do older = older or series[tables.before(variant)] ~= nil end
  if older then table.insert(rows[1], "÷ before") end
  for _, variant in ipairs(variants) do
    if series[variant] then
      local row = { variant, figures.spread(list_of(series[variant]), figure.unit) }
      for _, other in ipairs(others) do row[#row + 1] = ratio_text(series[variant], series[other]) or "" end
      if older then row[#row + 1] = ratio_text(series[variant], series[tables.before(variant)]) or "" end
      rows[#rows + 1] = row
    end
  end
  return figures.markdown(rows)
end

-- --- a goal ----------------------------------------------------------------------------------

-- Own values by those of somebody whom only another run has.
local function by_quote(own, series, quote)
  if not quote then return nil end
  if quote.value then
    local median, least, most = figures.median(list_of(own))
    return median / quote.value, least / quote.value, most / quote.value
  end
  local median, least, most = figures.ratio(own, series[quote.against] or {})
  if median then return median / quote.ratio, least / quote.ratio, most / quote.ratio end
end

---@param goal bench.Goal
---@param bench { figures: table[], quoted: table<string, bench.Quote>? }
---@return bench.Judged?      nil: the variant was not measured
function tables.judge(goal, bench, results)
  local series = results[goal.figure] or {}
  local own, unit = series[goal.variant], nil
  if not own then return nil end
  for _, figure in ipairs(bench.figures) do unit = figure.name == goal.figure and figure.unit or unit end
  local limit = goal.at_most or goal.at_least
  local judged = {
    limit = ("%s %s"):format(goal.at_most and "≤" or "≥", goal.against and
      ("%s × %s"):format(figures.digits(limit), goal.against) or figures.value(limit, unit)),
  }
  local median, least, most
  if not goal.against then
    median, judged.found = figures.median(list_of(own)), figures.spread(list_of(own), unit)
  elseif series[goal.against] then
    median, least, most = figures.ratio(own, series[goal.against])
    judged.found = median and ("%s × %s"):format(between(median, least, most), goal.against)
  else
    median, least, most = by_quote(own, series, (bench.quoted or {})[goal.figure])
    judged.found = median and ("%s × %s as another run has it"):format(between(median, least, most), goal.against)
    return judged
  end
  if median then judged.reached = goal.at_most and median <= limit or goal.at_least and median >= limit or false end
  return judged
end

-- --- rows of README.md -----------------------------------------------------------------------

-- How the names begin of those that are not luapilot.
local OTHERS = {
  "bare", "tini", "dumb%-init", "s6", "runsv", "runit", "supervisord", "dinit", "forker", "curl", "one by one",
}

local function is_other(variant)
  if variant:find ": poller$" then return true end
  for _, word in ipairs(OTHERS) do
    if variant:find("^" .. word) then return true end
  end
  return false
end

---Is it luapilot, as it is built here?
---@param variant string
function tables.is_ours(variant) return not is_other(variant) and variant:sub(-#BEFORE) ~= BEFORE end

-- "key, 5/s: poller" is of "key, 5/s" alone, "bare, 1000" of "luapilot, 1000", "tini" of all.
local function belongs(other, variant)
  local of = other:match "^(.*): "
  if of then return of == variant end
  local size = other:match ", (.*)$"
  return not size or size == variant:match ", (.*)$"
end

local function others_of(variant, figure, variants, series, quote)
  local list = {}
  for _, other in ipairs(variants) do
    if is_other(other) and series[other] and belongs(other, variant) then
      list[#list + 1] = other .. " " .. figures.spread(list_of(series[other]), figure.unit)
    end
  end
  if quote and not series[quote.variant] then
    list[#list + 1] = ("in another run %s %s"):format(quote.variant, quote.value
      and figures.value(quote.value, figure.unit) or ("%s × %s"):format(figures.digits(quote.ratio), quote.against))
  end
  return table.concat(list, ", ")
end

local function ratios_of(variant, figure, series)
  local list = {}
  for _, other in ipairs(figure.against or {}) do
    local text = other ~= variant and series[other] and ratio_text(series[variant], series[other])
    if text then list[#list + 1] = ("%s × %s"):format(text, other) end
  end
  local text = ratio_text(series[variant], series[tables.before(variant)])
  if text then list[#list + 1] = text .. " × before" end
  return table.concat(list, ", ")
end

local function goals_of(variant, figure, bench, results)
  local limits, marks = {}, {}
  for _, goal in ipairs(bench.goals or {}) do
    if goal.variant == variant and goal.figure == figure.name then
      local judged = tables.judge(goal, bench, results)
      limits[#limits + 1] = judged.limit
      marks[#marks + 1] = judged.reached == nil and "?" or judged.reached and "✓" or "✗"
    end
  end
  return table.concat(limits, ", "), table.concat(marks, ", ")
end

---Lines of README.md's table, without its head: one for each figure of each variant that is luapilot.
---@param name string
---@param bench table           of bench/NAME.lua
---@param variants string[]     in order
---@return string[]
function tables.rows(name, bench, variants, results)
  local rows = {}
  for _, figure in ipairs(bench.figures) do
    local series = results[figure.name] or {}
    for _, variant in ipairs(variants) do
      if series[variant] and tables.is_ours(variant) then
        local what = ("`%s`: %s%s"):format(name, #bench.figures == 1 and bench.title or figure.title,
          variant == "luapilot" and "" or ", " .. variant)
        local quote = (bench.quoted or {})[figure.name]
        local limits, marks = goals_of(variant, figure, bench, results)
        rows[#rows + 1] = ("| %s | %s | %s | %s | %s | %s |"):format(what,
          figures.spread(list_of(series[variant]), figure.unit),
          others_of(variant, figure, variants, series, quote), ratios_of(variant, figure, series), limits, marks)
      end
    end
  end
  return rows
end

---The newest run in the lines of build/bench/results/NAME.jsonl.
---@param text string
---@return table? results, string[] variants, integer rounds, integer? run     when it began; nil: there is none
function tables.newest(text)
  local run, lines = -1, {}
  for line in text:gmatch "[^\n]+" do
    local each = json.decode(line)
    local of = each.run or 0
    if of > run then run, lines = of, {} end
    if of == run then lines[#lines + 1] = each end
  end
  if run < 0 then return nil, {}, 0, nil end
  local results, variants, known, rounds = {}, {}, {}, 0
  for _, each in ipairs(lines) do
    if not known[each.variant] then variants[#variants + 1] = each.variant end
    known[each.variant], rounds = true, math.max(rounds, each.round)
    tables.keep(results, each.variant, each.round, each.measured)
  end
  return results, variants, rounds, run
end

---Adds what one measurement found.
---@param measured table<string, number>    by figure
function tables.keep(results, variant, round, measured)
  for figure, value in pairs(measured) do
    results[figure] = results[figure] or {}
    results[figure][variant] = results[figure][variant] or {}
    results[figure][variant][round] = value
  end
end

return tables
