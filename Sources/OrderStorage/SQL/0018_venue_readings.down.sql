DROP TABLE venue_readings;
