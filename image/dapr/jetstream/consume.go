package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/dapr/components-contrib/pubsub"
)

// askTimeout bounds one question to the broker about a stream or a consumer.
const askTimeout = 5 * time.Second

// subscription is one subscribed topic. What it bounds and waits for outlives a lost consumer: the application may still be at work
// on messages of the one before.
type subscription struct {
	topic   string
	handler pubsub.Handler
	// room has an entry for every message that the application has not answered.
	room    chan struct{}
	running sync.WaitGroup
}

// consume binds to the durable consumer, creating it where it is missing, and hands out its messages until something breaks.
func (p *PubSub) consume(ctx context.Context, s *subscription) error {
	consumer, err := p.consumer(ctx, s.topic)
	if err != nil {
		return err
	}
	// A missing heartbeat is an error here, so that a consumer that vanished with its broker is made anew.
	messages, err := consumer.Messages(js.PullMaxMessages(p.settings.MaxAckPending), js.PullHeartbeat(2*time.Second), js.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	defer messages.Stop()

	for {
		message, err := messages.Next()
		if errors.Is(err, js.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case s.room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			p.handle(ctx, s.topic, message, s.handler)
			<-s.room
		}()
	}
}

func (p *PubSub) consumer(ctx context.Context, topic string) (js.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	stream := p.settings.StreamName
	if stream == "" {
		var err error
		if stream, err = p.stream.StreamNameBySubject(ctx, topic); err != nil {
			return nil, fmt.Errorf("no stream carries the subject %s (set streamName, or create the stream): %w", topic, err)
		}
	}
	consumer, err := p.stream.CreateOrUpdateConsumer(ctx, stream, js.ConsumerConfig{
		Durable:       p.settings.DurableName,
		FilterSubject: topic,
		AckPolicy:     js.AckExplicitPolicy,
		DeliverPolicy: js.DeliverAllPolicy,
		AckWait:       p.settings.AckWait,
		MaxAckPending: p.settings.MaxAckPending,
		MaxDeliver:    -1,
	})
	if err != nil {
		return nil, fmt.Errorf("consumer %s of stream %s: %w", p.settings.DurableName, stream, err)
	}
	return consumer, nil
}

// handle gives one message to the application and acknowledges it when the application has.
func (p *PubSub) handle(ctx context.Context, topic string, message js.Msg, handler pubsub.Handler) {
	done := make(chan struct{})
	defer close(done)
	go p.keepAlive(ctx, message, done)

	err := handler(ctx, &pubsub.NewMessage{
		Topic:    topic,
		Data:     message.Data(),
		Metadata: map[string]string{"Topic": message.Subject()},
	})
	if err == nil {
		err = message.Ack()
	} else {
		p.log.Debugf("%s: the application did not accept a message: %v", topic, err)
		err = message.NakWithDelay(p.settings.RedeliverDelay)
	}
	if err != nil {
		p.log.Warnf("%s: answering the broker: %v; the message will come again", topic, err)
	}
}

// keepAlive tells the broker that the application is still at work, so that a message it holds is not delivered a second time. An application
// that has left its subscription is not: what it did not answer comes again.
func (p *PubSub) keepAlive(ctx context.Context, message js.Msg, done <-chan struct{}) {
	tick := time.NewTicker(p.settings.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = message.InProgress()
		}
	}
}
