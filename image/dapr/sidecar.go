package main

import (
	"context"
	"fmt"
	"os"

	"go.opencensus.io/stats/view"
	"go.uber.org/automaxprocs/maxprocs"

	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/buildinfo"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/metrics"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/runtime"
	"github.com/dapr/dapr/pkg/runtime/registry"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/kit/concurrency"
	"github.com/dapr/kit/logger"
	"github.com/dapr/kit/signals"
)

// runSidecar is daprd. It takes upstream's flags and hands them to upstream's runtime;
// upstream's own entry point cannot be used, because it links either every component of
// the project or panics for want of a build tag.
func runSidecar() {
	_, _ = maxprocs.Set()
	log := logger.NewLogger("dapr.runtime")

	opts, err := options.New(os.Args[1:])
	if err != nil {
		log.Fatalf("flags: %v", err)
	}
	switch {
	case opts.RuntimeVersion:
		fmt.Println(buildinfo.Version())
		return
	case opts.BuildInfo:
		fmt.Printf("Version: %s\nGit Commit: %s\nGit Version: %s\n", buildinfo.Version(), buildinfo.Commit(), buildinfo.GitVersion())
		return
	case opts.WaitCommand:
		runtime.WaitUntilDaprOutboundReady(opts.DaprHTTPPort)
		return
	}

	opts.Logger.SetAppID(opts.AppID)
	if err := logger.ApplyOptionsToLoggers(&opts.Logger); err != nil {
		log.Fatalf("log options: %v", err)
	}
	log.Infof("Dapr %s, Fieldgate flavour", buildinfo.Version())
	components := componentRegistry(logger.NewLogger("dapr.contrib"), log)

	// A SIGHUP ends one life of the runtime and begins the next, as upstream does it.
	lives := signals.OnHUP(signals.Context())
	for life := range lives {
		if err := runOnce(life, opts, components, log); err != nil {
			log.Fatalf("runtime: %v", err)
		}
		if life.Err() == nil {
			return // ended by itself, through the shutdown API
		}
	}
}

func runOnce(ctx context.Context, opts *options.Options, components *registry.Options, log logger.Logger) error {
	health := healthz.New()
	provider, err := security.New(ctx, security.Options{
		SentryAddress:           opts.SentryAddress,
		ControlPlaneTrustDomain: opts.ControlPlaneTrustDomain,
		ControlPlaneNamespace:   opts.ControlPlaneNamespace,
		TrustAnchors:            opts.TrustAnchors,
		AppID:                   opts.AppID,
		MTLSEnabled:             opts.EnableMTLS,
		Mode:                    modes.DaprMode(opts.Mode),
		Healthz:                 health,
		JwtAudiences:            opts.SentryRequestJwtAudiences,
	})
	if err != nil {
		return err
	}
	sidecar := func(ctx context.Context) error {
		handler, err := provider.Handler(ctx)
		if err != nil {
			return err
		}
		config := runtimeConfig(opts)
		config.Registry = components
		config.Security = handler
		config.Healthz = health
		config.Metrics = metrics.Options{
			Enabled:       opts.Metrics.Enabled(),
			Log:           log,
			Port:          opts.Metrics.Port(),
			Namespace:     metrics.DefaultMetricNamespace,
			Healthz:       health,
			ListenAddress: opts.Metrics.ListenAddress(),
			Meter:         view.NewMeter(),
		}
		daprd, err := runtime.FromConfig(ctx, config)
		if err != nil {
			return err
		}
		return daprd.Run(ctx)
	}
	return concurrency.NewRunnerManager(provider.Run, sidecar).Run(ctx)
}

// runtimeConfig is upstream's mapping from flags to the runtime's configuration.
func runtimeConfig(o *options.Options) *runtime.Config {
	return &runtime.Config{
		AppID: o.AppID, AppProtocol: o.AppProtocol, ApplicationPort: o.AppPort,
		AppChannelAddress: o.AppChannelAddress, AppMaxConcurrency: o.AppMaxConcurrency, AppSSL: o.AppSSL,
		EnableAppHealthCheck: o.EnableAppHealthCheck, AppHealthCheckPath: o.AppHealthCheckPath,
		AppHealthProbeInterval: o.AppHealthProbeInterval, AppHealthProbeTimeout: o.AppHealthProbeTimeout,
		AppHealthThreshold: o.AppHealthThreshold,

		DaprHTTPPort: o.DaprHTTPPort, DaprAPIGRPCPort: o.DaprAPIGRPCPort, DaprAPIListenAddresses: o.DaprAPIListenAddresses,
		DaprInternalGRPCPort: o.DaprInternalGRPCPort, DaprInternalGRPCListenAddress: o.DaprInternalGRPCListenAddress,
		DaprPublicPort: o.DaprPublicPort, DaprPublicListenAddress: o.DaprPublicListenAddress,
		UnixDomainSocket: o.UnixDomainSocket, AllowedOrigins: o.AllowedOrigins,
		MaxRequestSize: o.MaxRequestSize, ReadBufferSize: o.ReadBufferSize,

		Mode: o.Mode, ControlPlaneAddress: o.ControlPlaneAddress, Config: o.Config,
		ResourcesPath: o.ResourcesPath, ComponentsPath: o.ComponentsPath,
		HotReloadReconcileInterval: o.HotReloadReconcileInterval, DisableInitEndpoints: o.DisableInitEndpoints,
		DisableBuiltinK8sSecretStore: o.DisableBuiltinK8sSecretStore,
		EnableMTLS:                   o.EnableMTLS, SentryAddress: o.SentryAddress,

		ActorsService: o.ActorsService, ActorsDisseminationTimeout: o.ActorsDisseminationTimeout,
		RemindersService: o.RemindersService, SchedulerAddress: o.SchedulerAddress, SchedulerStreams: o.SchedulerJobStreams,

		DaprGracefulShutdownSeconds: o.DaprGracefulShutdownSeconds, DaprBlockShutdownDuration: o.DaprBlockShutdownDuration,
		EnableProfiling: o.EnableProfiling, ProfilePort: o.ProfilePort, EnableAPILogging: o.EnableAPILogging,
	}
}
