package main

import (
	"context"

	configkubernetes "github.com/dapr/components-contrib/configuration/kubernetes"
	"github.com/dapr/components-contrib/middleware"
	"github.com/dapr/components-contrib/middleware/http/bearer"
	"github.com/dapr/components-contrib/middleware/http/ratelimit"
	"github.com/dapr/components-contrib/middleware/http/routeralias"
	"github.com/dapr/components-contrib/middleware/http/routerchecker"
	namekubernetes "github.com/dapr/components-contrib/nameresolution/kubernetes"
	"github.com/dapr/components-contrib/nameresolution/mdns"
	namesqlite "github.com/dapr/components-contrib/nameresolution/sqlite"
	pubsubmemory "github.com/dapr/components-contrib/pubsub/in-memory"
	upstream "github.com/dapr/components-contrib/pubsub/jetstream"
	mqtt "github.com/dapr/components-contrib/pubsub/mqtt3"
	pubsubredis "github.com/dapr/components-contrib/pubsub/redis"
	secretskubernetes "github.com/dapr/components-contrib/secretstores/kubernetes"
	"github.com/dapr/components-contrib/secretstores/local/env"
	"github.com/dapr/components-contrib/secretstores/local/file"
	statememory "github.com/dapr/components-contrib/state/in-memory"
	statesqlite "github.com/dapr/components-contrib/state/sqlite"
	"github.com/dapr/kit/logger"

	"github.com/dapr/dapr/pkg/components/bindings"
	"github.com/dapr/dapr/pkg/components/configuration"
	"github.com/dapr/dapr/pkg/components/conversation"
	"github.com/dapr/dapr/pkg/components/crypto"
	"github.com/dapr/dapr/pkg/components/lock"
	middlewarehttp "github.com/dapr/dapr/pkg/components/middleware/http"
	"github.com/dapr/dapr/pkg/components/nameresolution"
	"github.com/dapr/dapr/pkg/components/pubsub"
	"github.com/dapr/dapr/pkg/components/secretstores"
	"github.com/dapr/dapr/pkg/components/state"
	daprmiddleware "github.com/dapr/dapr/pkg/middleware"
	"github.com/dapr/dapr/pkg/runtime/registry"

	"fieldgate.io/image/dapr/jetstream"
)

func registerMiddleware(name string, create func(logger.Logger) middleware.Middleware) {
	middlewarehttp.DefaultRegistry.RegisterComponent(func(log logger.Logger) middlewarehttp.FactoryMethod {
		return func(metadata middleware.Metadata) (daprmiddleware.HTTP, error) {
			return create(log).GetHandler(context.Background(), metadata)
		}
	}, name)
}

// componentRegistry lists every component this build can load. A component that is not
// here is refused by daprd by name when a manifest asks for it.
func componentRegistry(contrib, runtime logger.Logger) *registry.Options {
	for _, target := range []*logger.Logger{
		&pubsub.DefaultRegistry.Logger,
		&state.DefaultRegistry.Logger,
		&secretstores.DefaultRegistry.Logger,
		&configuration.DefaultRegistry.Logger,
		&nameresolution.DefaultRegistry.Logger,
		&bindings.DefaultRegistry.Logger,
		&crypto.DefaultRegistry.Logger,
		&lock.DefaultRegistry.Logger,
		&conversation.DefaultRegistry.Logger,
	} {
		*target = contrib
	}
	middlewarehttp.DefaultRegistry.Logger = runtime

	pubsub.DefaultRegistry.RegisterComponent(upstream.NewJetStream, "jetstream")
	pubsub.DefaultRegistry.RegisterComponent(jetstream.New, "jetstream/v2")
	pubsub.DefaultRegistry.RegisterComponent(mqtt.NewMQTTPubSub, "mqtt3", "mqtt")
	pubsub.DefaultRegistry.RegisterComponent(pubsubredis.NewRedisStreams, "redis")
	pubsub.DefaultRegistry.RegisterComponent(pubsubmemory.New, "in-memory")

	state.DefaultRegistry.RegisterComponent(statesqlite.NewSQLiteStateStore, "sqlite", "sqlite3")
	state.DefaultRegistry.RegisterComponent(statememory.NewInMemoryStateStore, "in-memory")

	secretstores.DefaultRegistry.RegisterComponent(secretskubernetes.NewKubernetesSecretStore, "kubernetes")
	secretstores.DefaultRegistry.RegisterComponent(file.NewLocalSecretStore, "local.file")
	secretstores.DefaultRegistry.RegisterComponent(env.NewEnvSecretStore, "local.env")

	configuration.DefaultRegistry.RegisterComponent(configkubernetes.NewKubernetesConfigMapStore, "kubernetes")

	nameresolution.DefaultRegistry.RegisterComponent(mdns.NewResolver, "mdns")
	nameresolution.DefaultRegistry.RegisterComponent(namekubernetes.NewResolver, "kubernetes")
	nameresolution.DefaultRegistry.RegisterComponent(namesqlite.NewResolver, "sqlite")

	registerMiddleware("bearer", func(log logger.Logger) middleware.Middleware { return bearer.NewBearerMiddleware(log) })
	registerMiddleware("ratelimit", func(log logger.Logger) middleware.Middleware { return ratelimit.NewRateLimitMiddleware(log) })
	registerMiddleware("routeralias", func(log logger.Logger) middleware.Middleware { return routeralias.NewMiddleware(log) })
	registerMiddleware("routerchecker", func(log logger.Logger) middleware.Middleware { return routerchecker.NewMiddleware(log) })

	return registry.NewOptions().
		WithPubSubs(pubsub.DefaultRegistry).
		WithStateStores(state.DefaultRegistry).
		WithSecretStores(secretstores.DefaultRegistry).
		WithConfigurations(configuration.DefaultRegistry).
		WithNameResolutions(nameresolution.DefaultRegistry).
		WithBindings(bindings.DefaultRegistry).
		WithCryptoProviders(crypto.DefaultRegistry).
		WithLocks(lock.DefaultRegistry).
		WithHTTPMiddlewares(middlewarehttp.DefaultRegistry).
		WithConversations(conversation.DefaultRegistry)
}
