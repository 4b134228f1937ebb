-- Posts one JSON body over and over: wrk -s post.lua URL -- BODY_FILE
-- Ends in one line of JSON for the program that reads it; latencies are in microseconds.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = file:read("*a")
  file:close()
  failed = 0
  first_failure = ""
end

function response(status, headers, body)
  if status < 200 or status > 299 then
    if failed == 0 then
      first_failure = status .. " " .. body:sub(1, 300)
    end
    failed = failed + 1
  end
end

local function quoted(text)
  return '"' .. text:gsub('[%c"\\\128-\255]', function(byte) return string.format("\\u%04x", byte:byte()) end) .. '"'
end

function done(summary, latency, requests)
  local failures, first = 0, ""
  for _, thread in ipairs(threads) do
    failures = failures + thread:get("failed")
    if first == "" then
      first = thread:get("first_failure")
    end
  end
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration_us": %d, "failed": %d, "first_failure": %s, "socket_errors": %d, "timeouts": %d,'
      .. ' "p50_us": %d, "p99_us": %d, "max_us": %d}\n',
    summary.requests, summary.duration, failures, quoted(first),
    errors.connect + errors.read + errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max
  ))
end
