-- figures: medians and ratios of what was measured, and their rendering.

local figures = {}

---@param list number[]
---@return number median, number least, number most
function figures.median(list)
  local sorted = {}
  for i, value in ipairs(list) do sorted[i] = value end
  table.sort(sorted)
  local middle = (#sorted + 1) / 2
  return (sorted[math.floor(middle)] + sorted[math.ceil(middle)]) / 2, sorted[1], sorted[#sorted]
end

---The value below which a share of all values is.
---@param list number[]
---@param share number    0.99
---@return number
function figures.quantile(list, share)
  local sorted = {}
  for i, value in ipairs(list) do sorted[i] = value end
  table.sort(sorted)
  return sorted[math.max(1, math.ceil(share * #sorted))]
end

local SCALES = {
  ["s"] = { { 1, "s" }, { 1e-3, "ms" }, { 1e-6, "µs" }, { 1e-9, "ns" } },
  ["B"] = { { 1024 ^ 2, "MiB" }, { 1024, "KiB" }, { 1, "B" } },
  ["B/s"] = { { 1e9, "GB/s" }, { 1e6, "MB/s" }, { 1e3, "kB/s" } },
  ["/s"] = { { 1, "/s" } },
  [""] = { { 1, "" } },
}

local function digits(value)
  if value == 0 then return "0" end
  local places = math.max(0, 2 - math.floor(math.log10(math.abs(value))))
  return (("%." .. math.min(places, 3) .. "f"):format(value))
end

local function scale_of(value, unit)
  local scales = SCALES[unit]
  for _, scale in ipairs(scales) do
    if math.abs(value) >= scale[1] then return scale end
  end
  return scales[#scales]
end

---A value in the unit that suits it.
---@param unit "s"|"B"|"B/s"|"/s"|""
function figures.value(value, unit)
  local scale = scale_of(value, unit)
  return digits(value / scale[1]) .. (scale[2] ~= "" and " " .. scale[2] or "")
end

---"1.07 ms (0.78–1.43)", all in the unit that suits the median.
function figures.spread(list, unit)
  local median, least, most = figures.median(list)
  local scale = scale_of(median, unit)[1]
  return ("%s (%s–%s)"):format(figures.value(median, unit), digits(least / scale), digits(most / scale))
end

---The median of the ratios of two series, round by round: what disturbs both cancels out.
---@param above table<integer, number>    by round
---@param below table<integer, number>
---@return number? median, number? least, number? most
function figures.ratio(above, below)
  local ratios = {}
  for round, value in pairs(above) do
    local other = below[round]
    if other and other > 0 then ratios[#ratios + 1] = value / other end
  end
  if #ratios == 0 then return nil end
  return figures.median(ratios)
end

---Lines of a Markdown table.
---@param rows string[][]    the first is the head
---@return string
function figures.markdown(rows)
  local lines = {}
  for i, row in ipairs(rows) do
    lines[#lines + 1] = "| " .. table.concat(row, " | ") .. " |"
    if i == 1 then lines[#lines + 1] = ("|---"):rep(#row) .. "|" end
  end
  return table.concat(lines, "\n")
end

figures.digits = digits

return figures
