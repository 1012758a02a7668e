# What a contributor does daily. bash .ci/run is the whole check.

.PHONY: test race lint fmt api mutants seeds bench

test: ## the root module, in a minute
	go test ./...

race: ## every module; needs the servers that .ci/run installs, or skips
	go test -race -shuffle=on work

lint: ## as .ci/run does it, for the root module
	gofmt -l $$(git ls-files '*.go')
	go vet work
	cd internal/tools && GOWORK=off go build -o staticcheck.out honnef.co/go/tools/cmd/staticcheck
	GOWORK=off internal/tools/staticcheck.out ./...

fmt:
	gofmt -w $$(git ls-files '*.go')

api: ## after a change of the exports
	bash .ci/api

mutants: ## about an hour; ONLY='name' for some
	go run ./internal/mutants -only '$(ONLY)'

seeds: ## SEEDS worlds of the simulator
	go test ./internal/simulator -timeout 0 -seeds=$(or $(SEEDS),10000) -from=$(or $(FROM),1000)

bench: ## the figures of benchmarks/README.md, on a quiet machine
	cd benchmarks && GOWORK=off go run ./cmd/report
