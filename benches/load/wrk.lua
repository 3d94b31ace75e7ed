-- Sends the bodies of a file, one a line, in turns; without a file, a GET.
-- LOAD_PATH, LOAD_TOKEN and LOAD_BODIES come from benches/load/run, which reads the last line.

local requests, next_request = {}, 0

function init(args)
  local path = os.getenv("LOAD_PATH")
  local headers = { Authorization = "Bearer " .. os.getenv("LOAD_TOKEN") }
  local bodies = os.getenv("LOAD_BODIES")
  if not bodies then
    requests[1] = wrk.format("GET", path, headers)
    return
  end
  headers["Content-Type"] = "application/json"
  for body in io.lines(bodies) do
    requests[#requests + 1] = wrk.format("POST", path, headers, body)
  end
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format("%d %d %d %d %d\n",
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
